/// First place in a Python file that MicroPython does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) struct Fault {
    /// First line in which the fault may be, from 1.
    pub(in crate::check) line: usize,
    /// Last line in which the fault may be. An open bracket shows only where something does not fit.
    pub(in crate::check) until: usize,
    /// Rule that is broken.
    pub(in crate::check) what: &'static str,
}
