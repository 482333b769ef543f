//! The `peerway` program.

fn main() -> std::process::ExitCode {
    peerway::cli::main()
}
