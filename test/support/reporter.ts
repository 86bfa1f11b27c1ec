import { readFileSync } from 'node:fs'
import type { Reporter, SerializedError, TestCase, TestModule, TestRunEndReason, Vitest } from 'vitest/node'

declare module 'vitest' {
  interface TaskMeta {
    /** What a skipped test or suite lacks here. Said in the report. */
    needs?: string
  }
}

/**
 * Ends every run with one plain line, `N passed, N failed, N skipped`, below a list of what was skipped and
 * why. A file that does not load, a hook that throws, an error outside any test and a test that never ended
 * each count as failed. A run in which nothing was executed fails, and with TEST_NOTHING_SKIPPED one that
 * skipped a test. Above it, where some failed, stands what OpenFGA's log (OPENFGA_TEST_LOG) has of errors.
 */
export default class ClosingLine implements Reporter {
  #filtered = false

  onInit(vitest: Vitest): void {
    this.#filtered = vitest.config.testNamePattern !== undefined
  }

  onTestRunEnd(
    modules: readonly TestModule[],
    unhandled: readonly SerializedError[],
    reason: TestRunEndReason,
  ): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const passed = tests.filter((test) => test.result().state === 'passed').length
    const skipped = tests.filter((test) => test.result().state === 'skipped')
    const failed = tests.length - passed - skipped.length + brokenOutsideTests(modules) + unhandled.length

    // With `-t` everything else is "skipped": a list of it would hide what matters.
    if (!this.#filtered) for (const line of skippedLines(skipped)) console.log(line)
    if (failed > 0) for (const line of openfgaErrors()) console.log(line)
    console.log('')
    console.log(`${passed} passed, ${failed} failed, ${skipped.length} skipped`)
    const isIncomplete = skipped.length > 0 && process.env['TEST_NOTHING_SKIPPED'] === '1'
    if (failed > 0 || passed === 0 || isIncomplete || reason !== 'passed') process.exitCode = 1
  }
}

/**
 * Files that did not load and suites whose hooks threw: vitest reports their tests as skipped or not at all.
 */
function brokenOutsideTests(modules: readonly TestModule[]): number {
  const suites = modules.flatMap((module) => [module, ...module.children.allSuites()])
  return suites.filter((suite) => suite.errors().length > 0).length
}

// Whoever is answered 500 is not told why: only the server's log has it, and that goes with the services.
function openfgaErrors(): readonly string[] {
  const path = process.env['OPENFGA_TEST_LOG']
  if (!path) return []
  const errors = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.includes('ERROR'))
  const last = errors.slice(-20).map((line) => `  ${line.slice(0, 600)}`)
  return last.length === 0 ? [] : ['', `OpenFGA's log has ${errors.length} errors; the last ones:`, ...last]
}

function skippedLines(tests: readonly TestCase[]): readonly string[] {
  const names = tests.map((test) => `  ${test.module.relativeModuleId}: ${test.fullName} (${reasonOf(test)})`)
  return names.length === 0 ? [] : ['', 'Skipped:', ...names]
}

/** A note given to `skip(note)`, else what the test or a suite around it says it needs (`meta.needs`). */
function reasonOf(test: TestCase): string {
  const result = test.result()
  if (result.state === 'skipped' && result.note) return result.note
  for (let task: TestCase | TestCase['parent'] = test; ; task = task.parent) {
    const { needs } = task.meta()
    if (needs) return `needs ${needs}`
    if (task.type !== 'test' && task.errors().length > 0) return 'a hook around it failed'
    if (task.type === 'module') return test.options.mode === 'todo' ? 'to do' : 'no reason given'
  }
}
