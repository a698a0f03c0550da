# Short names for stages of .ci/run: `just` lists them. just itself: `cargo install just`, or `pip install rust-just`.

_list:
    @just --list

# everything that CI runs, in about an hour
ci:
    .ci/run

# format, lints, dependencies, unit tests, compatibility suite, docs
fast:
    .ci/run fast

# every test, loom, browser, coverage, fuzzing for seconds
slow:
    .ci/run slow

# long fuzzing, known vulnerabilities, oldest compiler, another architecture
weekly:
    .ci/run weekly

# all tests, or those that the arguments of `cargo test` choose: `just test --test admin bans`
test *args:
    cargo test --locked {{ if args == "" { "--workspace" } else { args } }}

# the compatibility suite, or rules of it by name, against this server
compat *names:
    cargo test --locked --test compat -- {{ names }}

# one fuzz target: `just fuzz session 600`
fuzz target seconds="60":
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{ target }} -- -max_total_time={{ seconds }}

# the admin page in Chromium
page:
    .ci/run page

# the book, as web pages in target/book
book:
    .ci/run book

# format the code
fmt:
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml

# stages by name: `just stage lints docs`; `just stage --list`
stage *names:
    .ci/run {{ names }}

# record what is missing in tests/fixtures; docs/CONTRIBUTING.md says when
fixtures:
    cargo build
    python3 tests/fixtures/make.py target/debug/drawhall
