import { AppError, invalid, overloaded } from '../../kernel/errors.ts'
import { createSerialQueue } from '../../kernel/serial-queue.ts'
import type { FgaApi } from '../fga-api.ts'
import { reading } from '../text-error.ts'
import { digestOf, type ModelJson } from './dsl.ts'
import { type PlanTests, testsOfPlan } from './plan-tests.ts'
import { readStoreText, type StoreFile } from './store-file.ts'
import { notTried, RefusedError, type TestResult, testStoreFile } from './store-test.ts'
import type { Texts } from './texts.ts'

/**
 * Runs truth tables about models, on OpenFGA, in stores of their own that are removed at the end. Live tuples
 * are not looked at.
 */
export interface TruthTable {
  /**
   * Throws `invalid_request` for a text that is no model or no table, or that OpenFGA refuses; `overloaded`
   * where too many wait.
   */
  test(wanted: {
    readonly dsl: string
    /** A store file's text; left out: that of model.fga. */
    readonly tests?: string
  }): Promise<readonly TestResult[]>
  /**
   * What the table of model.fga says of a model that is planned. Throws `overloaded`; where it cannot run,
   * its answer says why.
   */
  ofPlan(model: ModelJson): Promise<PlanTests>
  /** sha256 of the table of model.fga; undefined where it cannot be read. */
  ownDigest(): Promise<string | undefined>
}

const questionsMax = 2_000
const testsMax = 200
// Each may be thousands of questions to the server that answers everybody: who comes later is told to come
// again.
const waitingMax = 4

/** Runs the truth table against a model in a store of its own, one run after another. */
export function createTruthTable(dependencies: {
  readonly api: FgaApi
  /** Text of the table that comes with model.fga. */
  readonly own: () => Promise<string>
  readonly texts: Pick<Texts, 'read' | 'readTable'>
}): TruthTable {
  // One table at a time: each makes and removes stores on the server that also answers everybody.
  const queue = createSerialQueue({
    pendingMax: waitingMax,
    full: () => overloaded(10, 'Others are waiting for their tables, too.'),
  })

  async function ofPlan(model: ModelJson): Promise<PlanTests> {
    let digest: string | undefined
    try {
      const tests = await dependencies.own()
      digest = digestOf(tests)
      return testsOfPlan(
        digest,
        await testsOf(dependencies.api, await small(() => readStoreText(tests, model, 'tests'))),
      )
    } catch (error) {
      const reason = error instanceof AppError ? (error.public ?? error.code) : 'It could not be read.'
      return { digest, passed: 0, failed: 0, failures: [], error: reason }
    }
  }

  return {
    test: ({ dsl, tests }) =>
      queue.run(async () => {
        const model = await reading('model', () => dependencies.texts.read(dsl))
        const file = await small(async () =>
          tests === undefined
            ? readStoreText(await dependencies.own(), model, 'tests')
            : dependencies.texts.readTable(tests, model),
        )
        return testsOf(dependencies.api, file)
      }),
    ofPlan: (model) => queue.run(() => ofPlan(model)),
    ownDigest: () => dependencies.own().then(digestOf, () => undefined),
  }
}

async function small(read: () => StoreFile | Promise<StoreFile>): Promise<StoreFile> {
  const file = await reading('tests', read)
  const questions = file.tests.reduce((sum, test) => sum + test.questions.length, 0)
  if (file.tests.length > testsMax || questions > questionsMax)
    throw invalid('tests', `At most ${testsMax} tests with ${questionsMax} questions together.`)
  return file
}

async function testsOf(api: FgaApi, file: StoreFile): Promise<readonly TestResult[]> {
  try {
    return await testStoreFile(api, file)
  } catch (error) {
    if (error instanceof AppError) throw error
    if (error instanceof RefusedError) throw invalid('model', error.message)
    throw notTried('OpenFGA ran no tests', error, 'OpenFGA could not be asked.')
  }
}
