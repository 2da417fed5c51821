//! Scripted EC2 as a program: `ec2 [SCRIPT]`, where SCRIPT is JSON or a file of
//! it, as `backstay_tests::ec2::program` describes. Prints one line of JSON
//! with its endpoint and what there is, and ends with its standard input. The
//! log of calls is at `/calls`.

use std::io::{Read, Write};

fn main() {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "{}".to_owned());
    let text = if argument.trim_start().starts_with('{') {
        argument
    } else {
        std::fs::read_to_string(&argument)
            .unwrap_or_else(|error| panic!("could not read {argument}: {error}"))
    };
    let script = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("the script is not JSON: {error}"));
    let (_ec2, facts) = backstay_tests::ec2::program::start(&script);
    println!("{facts}");
    std::io::stdout().flush().expect("standard output takes a line");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
