//! Pages of docs/operate that tests follow word by word.

/// The files of a page, and for each block of commands the host on which they are run.
pub struct Guide {
    pub files: Vec<String>,
    pub commands: Vec<(String, Vec<String>)>,
}

/// Reads the page `name` up to the heading that follows the last block of commands.
pub fn read(name: &str, hosts: &[&str]) -> Guide {
    let path = super::root().join("docs/operate").join(name);
    let text = std::fs::read_to_string(path).expect("the guide is part of the project");
    let mut blocks = text.split("\n```");
    let mut before = blocks.next().expect("a text").to_owned();
    let (mut files, mut commands) = (Vec::new(), Vec::new());
    while let (Some(block), Some(after)) = (blocks.next(), blocks.next()) {
        let (kind, lines) = block.split_once('\n').expect("a block begins with its kind");
        match kind {
            "toml" => files.push(lines.to_owned()),
            "sh" => {
                let host = before.rsplit('`').nth(1);
                let host = host.expect("a block of commands says where").to_owned();
                assert!(hosts.contains(&host.as_str()), "{host}: {lines}");
                commands.push((host, lines.lines().map(str::to_owned).collect()));
            }
            other => panic!("a block of {other} in the guide"),
        }
        after.clone_into(&mut before);
    }
    Guide { files, commands }
}
