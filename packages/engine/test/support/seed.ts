/**
 * What every random test draws its worlds from, said in its title: `FUZZ_SEED=N` draws them again. `.ci/run`
 * sets it from the tree that is tested; by hand, each run draws others.
 */
export const seed = Number(process.env['FUZZ_SEED'] || Date.now() % 1_000_000_000)
if (!Number.isSafeInteger(seed)) throw new Error('FUZZ_SEED is not a whole number.')
