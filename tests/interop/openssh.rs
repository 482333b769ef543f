//! OpenSSH: files by scp, both ways.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::{Program, Setup, free_port, program, random_file, run};

fn sshd() -> (Program, u16, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    for key in ["host", "user"] {
        run(program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(key)));
    }
    let file = dir.path().join("sshd_config");
    fs::write(&file, configuration(dir.path(), port)).unwrap();
    // The package's service would make this folder.
    let _ = fs::create_dir_all("/run/sshd");
    let mut server = program("sshd");
    server.args(["-D", "-e", "-f"]).arg(&file);
    (Program::start(&mut server).listening(port), port, dir)
}

fn configuration(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/user.pub\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         Subsystem sftp internal-sftp\n"
    )
}

#[test]
fn scp_carries_100_mb_there_and_back_unchanged() {
    let (_server, port, dir) = sshd();
    let proxy = Setup::to([format!("127.0.0.1:{port}")]).start();
    let path = |name: &str| dir.path().join(name).display().to_string();
    random_file(Path::new(&path("in")), 100_000_000);
    let user = run(program("id").arg("-un"));
    let remote = |name: &str| format!("{}@127.0.0.1:{}", user.trim(), path(name));
    let scp = |from: &str, to: &str| {
        let mut scp = program("scp");
        scp.args(["-q", "-F", "/dev/null", "-P", &proxy.address("front").port().to_string(), "-i", &path("user")]);
        scp.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        run(scp.args(["-o", "IdentitiesOnly=yes", from, to]));
    };
    scp(&path("in"), &remote("there"));
    scp(&remote("there"), &path("back"));
    run(program("cmp").args([path("in"), path("there")]));
    run(program("cmp").args([path("in"), path("back")]));
    for _ in 0..2 {
        assert!(proxy.why().starts_with("finished"));
    }
}
