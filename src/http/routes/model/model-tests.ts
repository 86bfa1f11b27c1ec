import { z } from '@hono/zod-openapi'
import { type modelAnswer, modelCheckAnswer, modelTestAnswer } from '@remit/contract/model'
import { text } from '@remit/contract/text'
import type { ModelCheck } from '../../../authz/model/check.ts'
import { questionText } from '../../../authz/model/plan-tests.ts'
import type { Answer, TestResult } from '../../../authz/model/store-test.ts'
import type { Texts } from '../../../authz/model/texts.ts'
import type { TruthTable } from '../../../authz/model/truth-table.ts'
import { type App, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { bearerRoute, json, problems } from '../../schemas.ts'
import { assertAdministrator, type IsAdministrator } from '../writing.ts'

export interface ModelTestRouteDeps {
  readonly truthTable: Pick<TruthTable, 'test'>
  readonly texts: Pick<Texts, 'check'>
  readonly requireBearer: RequireBearer
  readonly isAdministrator: IsAdministrator
  readonly now: () => number
}

const bodyBytesMax = 1024 * 1024
const textMax = 256 * 1024
const model = text(1, textMax).openapi({ description: 'In OpenFGA’s language' })

const checked = modelCheckAnswer.clone().openapi('ModelChecked')
const tested = modelTestAnswer.clone().openapi('ModelTested')

/**
 * `POST /model/check` and `POST /model/test`: for whoever writes a model. Nothing is changed, no live tuple
 * looked at.
 */
export function modelTestRoutes(dependencies: ModelTestRouteDeps): App {
  const { truthTable, texts, requireBearer, isAdministrator, now } = dependencies
  const middleware = [
    requireBearer({ kinds: ['person'], scopes: ['security.write'] }),
    ...jsonBody(bodyBytesMax),
  ] as const
  const checkRoute = bearerRoute('post', '/model/check', {
    summary: 'Say what is wrong in a model’s text, and where',
    middleware: [...middleware],
    request: {
      body: { required: true, content: { 'application/json': { schema: z.strictObject({ model }) } } },
    },
    responses: { 200: json('What the text alone shows', checked), ...problems() },
  })
  const testRoute = bearerRoute('post', '/model/test', {
    summary: 'Run a truth table about a model’s text, on OpenFGA, beside what is in force',
    middleware: [...middleware],
    request: {
      body: {
        required: true,
        content: {
          'application/json': {
            schema: z.strictObject({
              model,
              tests: text(1, textMax)
                .optional()
                .openapi({ description: 'A store file (`.fga.yaml`); left out: that of model.fga' }),
            }),
          },
        },
      },
    },
    responses: { 200: json('What OpenFGA answered', tested), ...problems() },
  })
  return createRouter()
    .openapi(checkRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      return c.json(
        checkToWire(await texts.check(c.req.valid('json').model, c.req.raw.signal), c.get('txn')),
        200,
      )
    })
    .openapi(testRoute, async (c) => {
      await assertAdministrator(c.get('principal'), isAdministrator, now())
      const { model: dsl, tests } = c.req.valid('json')
      const results = await truthTable.test({ dsl, ...(tests !== undefined && { tests }) })
      return c.json(testsToWire(results, c.get('txn')), 200)
    })
}

const checkToWire = ({ problems: found, refusals, warnings }: ModelCheck, txn: string) => ({
  problems: found.map(({ line, column, endLine, endColumn, message }) => ({
    line,
    column,
    end_line: endLine,
    end_column: endColumn,
    message,
  })),
  refusals: refusals.map(({ rule, relation, detail }) => ({ rule, relation, detail })),
  warnings: warnings.map(({ rule, relation, detail }) => ({ rule, relation, detail })),
  txn,
})

function testsToWire(results: readonly TestResult[], txn: string): z.output<typeof tested> {
  const answers = results.flatMap((test) => test.results)
  const refusedCount = results.filter((test) => test.refused !== undefined).length
  const passed = answers.filter((questionResult) => questionResult.passed).length
  return {
    passed,
    failed: answers.length - passed + refusedCount,
    tests: results.map((test) => ({
      name: test.name,
      ...(test.refused !== undefined && { refused: test.refused }),
      questions: test.results.map((questionResult) => ({
        question: questionText(questionResult.question),
        expected: answerToWire(questionResult.question.expected),
        got: answerToWire(questionResult.got),
        passed: questionResult.passed,
      })),
    })),
    txn,
  }
}

/** A model's answer as JSON. */
export const answerToWire = (answered: Answer): z.output<typeof modelAnswer> =>
  typeof answered === 'object' && 'error' in answered
    ? { error: answered.error }
    : Array.isArray(answered)
      ? [...answered]
      : answered === true
