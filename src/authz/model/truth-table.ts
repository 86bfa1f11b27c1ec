import { AppError, invalid } from '../../kernel/errors.ts'
import type { FgaApi } from '../fga-api.ts'
import { ModelSyntaxError, readDsl } from './dsl.ts'
import { readStoreText, type StoreFile, StoreFileError } from './store-file.ts'
import { RefusedError, type TestResult, testStoreFile } from './store-test.ts'

/** Runs a truth table about a model's text, on OpenFGA, in stores of its own that are removed at the end. */
export type TruthTable = (wanted: {
  readonly dsl: string
  /** A store file's text; left out: that of model.fga. */
  readonly tests?: string
}) => Promise<readonly TestResult[]>

const questionsMax = 2_000
const testsMax = 200
// Each may be thousands of questions to the server that answers everybody: who comes later is told to come again.
const waitingMax = 4

/**
 * Throws `invalid_request` for a text that is no model or no table, or that OpenFGA refuses; `rate_limited` where too
 * many wait. Live tuples are not looked at.
 */
export function createTruthTable(deps: {
  readonly api: FgaApi
  /** Text of the table that comes with model.fga. */
  readonly own: () => Promise<string>
}): TruthTable {
  let queue: Promise<unknown> = Promise.resolve()
  let waiting = 0
  return async ({ dsl, tests }) => {
    if (waiting >= waitingMax)
      throw new AppError('rate_limited', {
        public: 'Others are waiting for their tables, too.',
        headers: { 'retry-after': '10' },
      })
    waiting += 1
    const run = async () => testsOf(deps.api, read(dsl, tests ?? (await deps.own())))
    // One table at a time: each makes and removes stores on the server that also answers everybody.
    const mine = queue.then(run)
    queue = mine.catch(() => undefined)
    return await mine.finally(() => {
      waiting -= 1
    })
  }
}

function read(dsl: string, tests: string): StoreFile {
  try {
    const file = readStoreText(tests, readDsl(dsl), 'tests')
    const questions = file.tests.reduce((sum, test) => sum + test.questions.length, 0)
    if (file.tests.length > testsMax || questions > questionsMax)
      throw invalid('tests', `At most ${testsMax} tests with ${questionsMax} questions together.`)
    return file
  } catch (error) {
    if (error instanceof ModelSyntaxError) throw invalid('model', error.message)
    if (error instanceof StoreFileError) throw invalid('tests', error.message)
    throw error
  }
}

async function testsOf(api: FgaApi, file: StoreFile): Promise<readonly TestResult[]> {
  try {
    return await testStoreFile(api, file)
  } catch (error) {
    if (error instanceof AppError) throw error
    if (error instanceof RefusedError) throw invalid('model', error.message)
    // Not the error itself: the SDK's carry the request with its key.
    throw new AppError('authorization_unavailable', {
      internal: `OpenFGA ran no tests: ${error instanceof Error ? error.name : 'thrown value'}`,
    })
  }
}
