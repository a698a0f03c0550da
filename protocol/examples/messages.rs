//! Prints the message table as a page of Markdown.

fn main() {
    print!("{}", drawhall_protocol::message::page());
}
