// How many reports are open, for the navigation of every screen.

import { get } from "./api.js";
import { follow } from "./live.js";

/** Calls back with the number of open reports until the signal, at first and whenever it changes. */
export function watchReports(signal, changed) {
  const look = async () => {
    const { open } = await get("reports", { state: "open" });
    if (!signal.aborted) changed(open);
  };
  look().catch(() => {});
  const again = () => look().catch(() => {});
  follow(signal, ["reports"], { open: again, report: again });
}
