//! Check that a `boot.py` calls the client that puts sets in place.

use tree_sitter::Node;

const MODULE: &str = "mqtt_ota_boot";

/// Functions of the module, of which one has to be called.
const FUNCTIONS: [&str; 2] = ["boot", "run"];

/// Expressions that import the module.
const EXPRESSIONS: [&str; 2] = ["__import__('mqtt_ota_boot')", "__import__(\"mqtt_ota_boot\")"];

/// Returns true if the module is imported in any form, and one of its functions is called anywhere.
///
/// The check does not look at whether that call is ever reached.
pub(super) fn is_started(source: &[u8], root: Node<'_>) -> bool {
    let text = |node: Node<'_>| std::str::from_utf8(source.get(node.byte_range())?).ok();
    let mut modules = EXPRESSIONS.to_vec();
    let (mut functions, mut calls) = (Vec::new(), Vec::new());
    let (mut open, mut cursor) = (vec![root], root.walk());
    while let Some(node) = open.pop() {
        match node.kind() {
            "import_statement" => {
                let names = imported(node, text).into_iter();
                modules.extend(names.filter_map(|(name, known)| (name == MODULE).then_some(known)));
            }
            "import_from_statement"
                if node.child_by_field_name("module_name").and_then(text) == Some(MODULE) =>
            {
                let names = imported(node, text).into_iter();
                functions
                    .extend(names.filter_map(|(name, known)| FUNCTIONS.contains(&name).then_some(known)));
                if node.children(&mut cursor).any(|child| child.kind() == "wildcard_import") {
                    functions.extend(FUNCTIONS);
                }
            }
            "call" => calls.extend(node.child_by_field_name("function")),
            _ => {}
        }
        open.extend(node.children(&mut cursor));
    }
    calls.into_iter().any(|called| {
        let part = |field| called.child_by_field_name(field).and_then(text);
        match called.kind() {
            "attribute" => {
                part("object").is_some_and(|object| modules.contains(&object))
                    && part("attribute").is_some_and(|name| FUNCTIONS.contains(&name))
            }
            _ => text(called).is_some_and(|name| functions.contains(&name)),
        }
    })
}

/// Returns the names in an import, each with the name under which it is known from then on.
fn imported<'a>(import: Node<'a>, text: impl Fn(Node<'a>) -> Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut cursor = import.walk();
    let names = import.children_by_field_name("name", &mut cursor);
    let named = names.filter_map(|name| {
        let part = |field| name.child_by_field_name(field).and_then(&text);
        match name.kind() {
            "aliased_import" => Some((part("name")?, part("alias")?)),
            _ => text(name).map(|name| (name, name)),
        }
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::super::starts_client;
    use super::is_started;

    #[test]
    fn an_import_in_any_form_and_a_call_anywhere_start_the_client() {
        for source in [
            "import mqtt_ota_boot\nmqtt_ota_boot.boot()\n",
            "import mqtt_ota_boot\nmqtt_ota_boot.boot(connect=wifi, patience=2)\n",
            "import mqtt_ota_boot as ota\nota.boot()\n",
            "import gc, mqtt_ota_boot as ota, os\nota.run(main)\n",
            "from mqtt_ota_boot import boot\nboot()\n",
            "from mqtt_ota_boot import boot as start, run\nstart(\n    connect=wifi,\n)\n",
            "from mqtt_ota_boot import (\n    run,\n)\nrun('app')\n",
            "from mqtt_ota_boot import *\nboot()\n",
            "try:\n    import mqtt_ota_boot\n    mqtt_ota_boot.boot()\nexcept ImportError:\n    pass\n",
            "import machine\nif machine.reset_cause():\n    import mqtt_ota_boot; mqtt_ota_boot . boot()\n",
            "def start():\n    import mqtt_ota_boot\n    return mqtt_ota_boot.boot()\n\nstart()\n",
            "x = [ota.boot() for _ in range(1)]\nimport mqtt_ota_boot as ota\n",
            "__import__('mqtt_ota_boot').boot()\n",
            "__import__(\"mqtt_ota_boot\").run('app')\n",
        ] {
            assert_eq!(starts_client(source.as_bytes()), Some(true), "{source}");
        }
    }

    #[test]
    fn a_comment_a_string_or_one_of_the_two_alone_starts_nothing() {
        for source in [
            "",
            "x = 1\n",
            "# import mqtt_ota_boot\n# mqtt_ota_boot.boot()\n",
            "'''\nimport mqtt_ota_boot\nmqtt_ota_boot.boot()\n'''\n",
            "print('import mqtt_ota_boot', \"mqtt_ota_boot.boot()\")\n",
            "import mqtt_ota_boot\n",
            "import mqtt_ota_boot\nmqtt_ota_boot.boot\n",
            "import mqtt_ota_boot\n# mqtt_ota_boot.boot()\n",
            "mqtt_ota_boot.boot()\n",
            "import mqtt_ota_boot\nmqtt_ota_boot.state('x')\n",
            "import mqtt_ota_boot as ota\nmqtt_ota_boot.boot()\n",
            "from mqtt_ota_boot import state\nboot()\n",
            "from mqtt_ota_boot import boot as start\nboot()\n",
            "from other import boot\nboot()\n",
            "import other\nother.boot()\n",
            "import mqtt_ota\nmqtt_ota.attach(client, 'LAMP')\n",
            "import mqtt_ota_boot2\nmqtt_ota_boot2.boot()\n",
        ] {
            assert_eq!(starts_client(source.as_bytes()), Some(false), "{source}");
        }
    }

    #[test]
    fn the_depth_of_nesting_costs_no_stack() {
        let source = "(".repeat(50_000) + &")".repeat(50_000);
        // No time limit, so that a busy machine does not fail the test.
        let mut parser = tree_sitter::Parser::new();
        parser.set_language(&tree_sitter_python::LANGUAGE.into()).unwrap();
        let tree = parser.parse(&source, None).unwrap();
        assert!(!is_started(source.as_bytes(), tree.root_node()));
    }
}
