//! What plugins print.

use super::*;

fn told(manner: Manner, status: Option<i32>, output: &str) -> String {
    match judge(manner, status, output.as_bytes()) {
        Answer::Good { warning, figures } => {
            let figures = figures.iter().map(|it| format!(" {}={}{}", it.label, it.value, it.unit));
            format!(
                "good{}{}",
                warning.map(|why| format!(" ({why})")).unwrap_or_default(),
                figures.collect::<String>()
            )
        }
        Answer::Bad { why } => format!("bad: {why}"),
        Answer::Silent => "silent".into(),
        Answer::Unasked { why } => format!("unasked: {why}"),
    }
}

#[test]
fn the_status_says_how_it_is() {
    for (status, output, expected) in [
        (Some(0), "HTTP OK", "good"),
        (Some(1), "DISK WARNING - 8% left\nmore", "good (DISK WARNING - 8% left)"),
        (Some(2), "connect: refused", "bad: connect: refused"),
        (Some(2), "", "bad: its plugin says that it is critical (status 2)"),
        (Some(3), "usage: check_http", "unasked: usage: check_http"),
        (Some(127), "", "unasked: its plugin does not know (status 127)"),
        (None, "", "bad: its program was ended by a signal"),
    ] {
        assert_eq!(told(Manner::Plugin, status, output), expected, "{status:?} {output:?}");
    }
    assert_eq!(told(Manner::Custom, Some(0), "x | a=1"), "good");
    assert_eq!(told(Manner::Custom, Some(1), "gone\n"), "bad: gone");
    assert_eq!(told(Manner::Custom, Some(9), ""), "bad: its program ended with status 9");
}

#[test]
fn figures_become_numbers_in_base_units() {
    let output = "OK | time=0.25s;;;0 'disk /'=12MB;80;90;0;100 load=12.5% hits=7c 'x=y'=3ms free=-1";
    let expected = "good time=0.25s disk /=12582912B load=12.5% hits=7c x=y=0.003s free=-1";
    assert_eq!(told(Manner::Plugin, Some(0), output), expected);
    // A quoted label may hold anything but its quote, and what does not parse is left out.
    assert_eq!(told(Manner::Plugin, Some(0), "OK | a=U b=1x c=NaN d=inf =3 e=2"), "good e=2");
    assert_eq!(told(Manner::Plugin, Some(0), "OK | 'never closed"), "good");
    let many: String = (0..100).map(|number| format!("f{number}=1 ")).collect();
    let Answer::Good { figures, .. } = judge(Manner::Plugin, Some(0), format!("OK | {many}").as_bytes())
    else {
        panic!("status 0 is good")
    };
    assert_eq!(figures.len(), FIGURES_MAX);
}
