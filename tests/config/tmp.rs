use super::*;
#[test]
fn dump() {
    let groups: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string("/tmp/cases/cases.json").unwrap()).unwrap();
    let mut out = serde_json::Map::new();
    for (name, cases) in groups.as_object().unwrap() {
        let mut list = vec![];
        for case in cases.as_array().unwrap() {
            let r = config::parse("t.yaml", case.as_str().unwrap(), &CATALOGUE, &|n| match n {
                "MAX" => Some("many".into()),
                "WORD" => Some("word".into()),
                "TEN" => Some("10".into()),
                "EMPTY" => Some("".into()),
                "LINES" => Some("a\nb\u{1b}[31m".into()),
                _ => None,
            });
            list.push(serde_json::json!([
                case,
                match r {
                    Ok(_) => "OK".to_string(),
                    Err(e) => e.to_string(),
                }
            ]));
        }
        out.insert(name.clone(), list.into());
    }
    std::fs::write("/tmp/cases/out.json", serde_json::to_string(&out).unwrap()).unwrap();
}
