import tests from '../../vitest.config.ts'

// Named here: by Stryker's own `testFiles` it changes what a module does as it loads when that is over
// (https://github.com/stryker-mutator/stryker-js/issues/6144).
const { testFiles, isStored } = JSON.parse(process.env['MUTATE_BY'] ?? '{}')

// Hundreds of mutants run them, each from a start of its own: what they do without is left out.
export default {
  ...tests,
  test: {
    ...tests.test,
    include: testFiles,
    typecheck: { enabled: false },
    reporters: [],
    ...(!isStored && { globalSetup: [] }),
  },
}
