//! Plausible inputs in any order over three relays, and a shell that keeps books (S2 to S5, S9,
//! S11, T1 to T3, D1); then everything heals, and every relay is proven (L1, L4), and all ends (L5).

mod fake_shell;

use fake_shell::{Op, Shell};
use proptest::prelude::*;

fn ops(n: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = (0u8..26, any::<u16>(), any::<u16>(), any::<u16>());
    proptest::collection::vec(op.prop_map(|(kind, a, b, c)| Op { kind, a, b, c }), 0..n)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_inputs_breaks_an_invariant_and_everything_heals(
        negentropy in any::<bool>(),
        ops in ops(160),
    ) {
        let mut shell = Shell::new(negentropy);
        ops.iter().for_each(|op| shell.apply(*op));
        shell.heal();
        shell.shut_down();
    }

    #[test]
    fn the_same_inputs_give_the_same_commands(negentropy in any::<bool>(), ops in ops(60)) {
        let run = || {
            let mut shell = Shell::new(negentropy);
            ops.iter().for_each(|op| shell.apply(*op));
            shell.log
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_shutdown_at_any_moment_ends(negentropy in any::<bool>(), ops in ops(60)) {
        let mut shell = Shell::new(negentropy);
        ops.iter().for_each(|op| shell.apply(*op));
        shell.shut_down();
    }
}
