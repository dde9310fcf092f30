//! The file for web servers and its change script: run once for a change, bounded in time, its failure told.

use super::*;
use std::fs;
use std::time::Instant;
use tokio::task::LocalSet;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("muster-plugin-cfg-output-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a temporary directory can be made");
    path
}

fn text(weight: u32) -> String {
    format!(
        "<Config><ServerCluster Name=\"c\"><Server Name=\"s\" LoadBalanceWeight=\"{weight}\">\
         <Transport Hostname=\"h\" Port=\"80\"/></Server></ServerCluster><Route ServerCluster=\"c\"/></Config>"
    )
}

fn file(directory: &std::path::Path, text: String, script: &str, limit_ms: u64) -> PluginCfgFile {
    let output = PluginCfgOutput {
        path: directory.join("plugin-cfg.xml").display().to_string(),
        scope: wire::settings::PluginCfgScope::Cell,
        change_script: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        change_script_ms: limit_ms,
    };
    PluginCfgFile { output, text }
}

fn run_local<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, future)
}

#[test]
fn the_script_runs_after_a_change_and_only_then() {
    let directory = directory("change");
    let script = format!("cat \"$MUSTER_PLUGIN_CFG\" >> {}/seen; echo done", directory.display());
    run_local(async {
        for weight in [1, 1, 2] {
            keep(&file(&directory, text(weight), &script, 10_000)).await.expect("right");
        }
        let commented = text(2).replace("<Route", "<!-- new --><Route");
        keep(&file(&directory, commented, &script, 10_000)).await.expect("right");
    });
    let seen = fs::read_to_string(directory.join("seen")).expect("the script ran");
    assert_eq!(seen, format!("{}{}", text(1), text(2)));
    fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn a_script_that_fails_or_hangs_is_told_and_the_file_is_there() {
    let directory = directory("fails");
    run_local(async {
        let failing = file(&directory, text(1), "echo it is closed >&2; exit 3", 10_000);
        let told = keep(&failing).await.expect_err("it fails").to_string();
        assert!(told.ends_with("/bin/sh ended with 3: it is closed"), "{told}");
        let began = Instant::now();
        let hanging = file(&directory, text(2), "sleep 600 & sleep 600", 200);
        let told = keep(&hanging).await.expect_err("it hangs").to_string();
        assert!(told.ends_with("did not end within 200 ms and was killed"), "{told}");
        assert!(began.elapsed() < Duration::from_secs(60), "it was waited for");
        let missing = PluginCfgFile {
            output: PluginCfgOutput { change_script: vec!["/no/such".into()], ..failing.output.clone() },
            text: text(3),
        };
        let told = keep(&missing).await.expect_err("there is none").to_string();
        assert!(told.contains("/no/such could not be started"), "{told}");
    });
    let written = fs::read_to_string(directory.join("plugin-cfg.xml")).expect("there");
    assert_eq!(written, text(3));
    fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn long_output_does_not_stop_the_script() {
    let directory = directory("output");
    run_local(async {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 'a line of a hundred bytes or so, to fill every pipe that there is ....'; i=$((i+1)); done; exit 1";
        let told = keep(&file(&directory, text(1), script, 30_000)).await.expect_err("it fails").to_string();
        assert!(told.len() < script::OUTPUT_MAX_BYTES + 500, "{}", told.len());
    });
    fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn what_cannot_be_written_is_reported_and_mended_by_the_next_wish() {
    let directory = directory("mended");
    run_local(async {
        let reported = Arc::new(Notify::new());
        let outputs = PluginCfgOutputs::start(reported.clone());
        let mut wrong = file(&directory, text(1), "true", 10_000);
        wrong.output.path = directory.join("missing/plugin-cfg.xml").display().to_string();
        outputs.want(Some(wrong));
        reported.notified().await;
        let told = outputs.problem().expect("it cannot be written");
        assert!(told.contains("was not replaced") && told.contains("No such file"), "{told}");
        outputs.want(Some(file(&directory, text(1), "true", 10_000)));
        reported.notified().await;
        assert_eq!(outputs.problem(), None);
    });
    assert!(directory.join("plugin-cfg.xml").exists());
    fs::remove_dir_all(&directory).expect("ours");
}
