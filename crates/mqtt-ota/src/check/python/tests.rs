use super::*;

/// Sources that MicroPython 1.25 compiles.
const SOUND: &[&str] = &[
    "",
    "# nothing\n",
    "x = 1",
    "x\n",
    "if x: pass\nelif y: pass\nelse: z\n",
    "if x:\n\ty\nelse:\n        z\n",
    "def f(a, *b, c=1, **d):\n  '''\n doc\n  '''\n  return a; x = 1;\n  y\n",
    "x = 1 + \\\n    2\nf(\n1,\n   2)\n",
    "x = '''a\n  b''' 'c'\nx = ('a'\n 'b')\n",
    "@micropython.asm_thumb\ndef f(r0):\n    label(loop)\n    mov(r0, 1)\n",
    "@micropython.viper\ndef f(x: ptr8, y: int) -> uint:\n    return x[y]\n",
    "async def f():\n    async with a as b, c:\n        await d\n    return [x async for x in y]\n",
    "while (y := f()): print(y)\n",
    "print(f'{x!r:>{y}}', rb'\\x', \"it's\")\n",
    "try:\n    pass\nexcept (A, B) as e:\n    raise C from e\nelse:\n    pass\nfinally:\n    pass\n",
    "for x in y:\n    if x: break\nelse:\n    pass\n",
    "match = 1\ntype = match\nprint(match)\nprint = exec\n",
    "x = lambda *a, b=1: (yield)\n",
    "a[1:2, ...] = {**b, 'c': 1} if False else {1, 2}\n",
    "if 1:\n    x\n\n  # comment\n\n    y\n",
    "f(*a, b=1, *c)\n",
    "def f():\n    await x\n",
    "async def f():\n    if a:\n        async for x in y: pass\n    x = lambda: await y\n",
    "x: int = 1\n",
];

/// Sources that neither MicroPython 1.25 nor CPython 3.11 compiles, and the lines of their faults.
const BROKEN: &[(&str, usize)] = &[
    ("def f():\n", 1),
    ("def f():\n    # comment\nx = 1\n", 1),
    ("x = (1,\ny = 2\n", 1),
    ("x = 1)\n", 1),
    ("x = 'abc\ny = 1\n", 1),
    ("x = '''abc\n", 1),
    (" x = 1\n", 1),
    ("x = 1\n  y = 2\n", 2),
    ("if x:\n    y\n  z\n", 3),
    ("if x:\n    y\n else:\n    z\n", 3),
    ("if x:\n    y\n\tz\n", 3),
    ("@a\n  def f(): pass\n", 2),
    ("<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> topic\n", 1),
    ("print 'hello'\n", 1),
    ("exec 'x'\n", 1),
    ("raise ValueError, 'x'\n", 1),
    ("try:\n    x\nexcept A, e:\n    y\n", 3),
    ("try:\n    x\n", 1),
    ("x = `1`\n", 1),
    ("if x <> y: pass\n", 1),
    ("x = 10L\n", 1),
    ("def f((a, b)): pass\n", 1),
    ("x = ur'a'\n", 1),
    ("x = 1 y = 2\n", 1),
    ("x =\ny = 1\n", 1),
    ("f(,)\n", 1),
    ("return 1\n", 1),
    ("break\n", 1),
    ("def f():\n    continue\n", 2),
    ("x = a as b\n", 1),
    ("async def f():\n    await\n", 2),
    ("x.async = 1\n", 1),
    ("await x\n", 1),
    ("class A:\n    await x\n", 2),
    ("async for x in y: pass\n", 1),
    ("def f():\n    async with x: pass\n", 2),
    ("def f():\n    return [x async for x in y]\n", 2),
    ("async def f():\n    def g():\n        async with x: pass\n", 3),
    ("async def f():\n    class A:\n        async with x: pass\n", 3),
    ("x := 1\n", 1),
    ("f(a=1, 2)\n", 1),
    ("f() = 1\n", 1),
    ("import a,\n", 1),
    ("class A\n    pass\n", 1),
    ("els:\n    pass\n", 1),
];

/// Sources that CPython compiles, and MicroPython does not.
const DIALECT: &[&str] = &[
    "match x:\n    case 1: pass\n",
    "def f(a, /): pass\n",
    "def f[T](x): pass\n",
    "type A = int\n",
    "try:\n    x\nexcept* A:\n    y\n",
    "with (a as b, c as d): pass\n",
];

fn fault(source: &str) -> Option<Fault> {
    match parse(source.as_bytes()) {
        Parsed::Sound => None,
        Parsed::Faulty(fault) => Some(fault),
        Parsed::Unknown => panic!("{source:?} took too long"),
    }
}

#[test]
fn what_micropython_compiles_is_sound() {
    for source in SOUND {
        assert_eq!(fault(source), None, "{source}");
    }
}

#[test]
fn what_does_not_compile_is_found_in_its_line() {
    for (source, line) in BROKEN {
        let fault = fault(source).unwrap_or_else(|| panic!("{source:?} is broken"));
        assert!((fault.line..=fault.until).contains(line), "{source}: {fault:?}");
    }
}

#[test]
fn what_only_cpython_compiles_is_named_as_such() {
    for source in DIALECT {
        let fault = fault(source).unwrap_or_else(|| panic!("{source:?} is no MicroPython"));
        assert!(fault.what.starts_with("MicroPython has no "), "{source}: {fault:?}");
    }
}

#[test]
fn every_broken_source_stays_broken_inside_of_a_sound_file() {
    for (source, _) in BROKEN {
        let text = format!("import a\n\n\nclass B:\n    def c(self):\n        return 1\n\n\n{source}");
        assert!(fault(&text).is_some(), "{text}");
    }
}

#[test]
fn no_depth_of_nesting_overflows_the_stack() {
    let deep = 10_000;
    for source in [
        "(".repeat(deep),
        "(".repeat(deep) + &")".repeat(deep),
        "[".repeat(deep) + "1" + &"]".repeat(deep),
        "x = ".to_owned() + &"not ".repeat(deep) + "1\n",
        "x = ".to_owned() + &"-".repeat(deep) + "1\n",
        "x = ".to_owned() + &"a+".repeat(deep) + "1\n",
        "x = ".to_owned() + &"a.".repeat(deep) + "a\n",
        "x = ".to_owned() + &"lambda: ".repeat(deep / 4) + "1\n",
        "x = ".to_owned() + &"1 if a else ".repeat(deep / 8) + "1\n",
        "x = ".to_owned() + &"a**".repeat(deep) + "1\n",
        "{".repeat(deep),
        "f'{".repeat(deep / 4),
        (0..1_000).map(|depth| " ".repeat(depth) + "if x:\n").collect::<String>()
            + &" ".repeat(1_000)
            + "y\n",
        "if x:\n y\nel".to_owned() + &"if x:\n y\nel".repeat(deep / 8),
    ] {
        // The result does not matter here, only that parsing ends.
        let _ = parse(source.as_bytes());
    }
}
