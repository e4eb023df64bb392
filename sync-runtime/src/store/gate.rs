//! Who is inside the environment: the memory map may only change while nobody is.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;

thread_local! {
    /// The gates that this thread is inside of, one entry a pass.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Counts transactions and lets one caller wait for the end of all of them.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    inside: usize,
    closing: bool,
}

/// Held around a transaction; stays on its thread.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    _on_its_thread: PhantomData<*const ()>,
}

impl Gate {
    /// Enters; waits while the map changes. A thread that is inside already never waits, since
    /// who changes the map waits for it.
    pub(super) fn enter(&self) -> Pass<'_> {
        let nested = self.holds_this_thread();
        let mut state = self.lock();
        while state.closing && !nested {
            state = self.wait(state);
        }
        state.inside += 1;
        drop(state);
        INSIDE.with_borrow_mut(|gates| gates.push(self.address()));
        Pass { gate: self, _on_its_thread: PhantomData }
    }

    /// Runs `change` while nobody is inside.
    pub(super) fn alone<R>(
        &self,
        change: impl FnOnce() -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        if self.holds_this_thread() {
            return Err(StoreError::Nested);
        }
        let mut state = self.lock();
        while state.closing {
            state = self.wait(state);
        }
        state.closing = true;
        while state.inside > 0 {
            state = self.wait(state);
        }
        let result = change();
        state.closing = false;
        self.changed.notify_all();
        result
    }

    fn holds_this_thread(&self) -> bool {
        INSIDE.with_borrow(|gates| gates.contains(&self.address()))
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let address = self.gate.address();
        INSIDE.with_borrow_mut(|gates| {
            let at = gates.iter().rposition(|gate| *gate == address);
            gates.remove(at.expect("a pass was entered on this thread"));
        });
        self.gate.lock().inside -= 1;
        self.gate.changed.notify_all();
    }
}
