// Pictures of a canvas.

const kindOf = (data) => (data.startsWith("/9j/") ? "image/jpeg" : data.startsWith("UklGR") ? "image/webp" : "image/png");

/** A picture that the API has sent, as the source of an image. */
export const pictureOf = ({ data }) => `data:${kindOf(data)};base64,${data}`;
