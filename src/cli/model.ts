import { readFile } from 'node:fs/promises'
import type { ActiveModel, OpenPlanList, PlanMade, PlanRead } from '@remit/contract/model'
import { type Command, Option } from 'commander'
import { embeddedUrl, openInMemory } from '../authz/embedded.ts'
import { placesIn } from '../authz/model/dsl.ts'
import { type Question, readStoreFile } from '../authz/model/store-file.ts'
import {
  type Answer,
  type QuestionResult,
  type TestResult,
  testStoreFile,
} from '../authz/model/store-test.ts'
import { createFgaApi } from '../authz/openfga.ts'
import { printable } from '../kernel/printable.ts'
import { askAs, asPerson, type PersonFlags, personOf } from './as-person.ts'
import type { CliDeps } from './deps.ts'
import { printList } from './listing.ts'
import { diffToText, modelToText, planToMarkdown, planToText } from './model-plan.ts'

interface TestFlags {
  readonly server?: string
  readonly serverToken?: string
}

interface PlanFlags extends PersonFlags {
  readonly allowList?: string
  readonly json?: boolean
  readonly markdown?: boolean
}

// A server of one's own on a laptop may be slow; nobody waits behind this one.
const timeoutMs = 10_000

/** `remit model …`: the authorization model as code. */
export function addModelCommands(program: Command, dependencies: CliDeps, outcome: { ok: boolean }): void {
  const model = program.command('model').description('Works on the authorization model.')

  model
    .command('test [file]')
    .description(
      'Runs a store file of OpenFGA’s tool (.fga.yaml) on the engine and, where there is one, a server.',
    )
    .option('--server <url>', 'a real OpenFGA server to ask as well (default: OPENFGA_API_URL)')
    .option('--server-token <key>', 'its preshared key (default: OPENFGA_API_TOKEN)')
    .addOption(new Option('--token <key>').hideHelp().argParser(refuseToken))
    .action(async (file: string | undefined, flags: TestFlags) => {
      const store = await readStoreFile(file ?? 'model.fga.yaml')
      for (const { name, api } of apisOf(flags, dependencies)) {
        const results = await testStoreFile(api, store)
        dependencies.terminal.out(`On ${name}:\n${reportOf(results)}\n`)
        outcome.ok &&= isPassing(results)
      }
    })

  asPerson(model.command('plan [file]'))
    .description(
      'Shows who would gain and who would lose which documents under a changed model, and who may write what.',
    )
    .option('--allow-list <file>', 'who may write which tuples (default: of today’s list what fits)')
    .option('--json', 'prints the plan as the service answers it')
    .option('--markdown', 'prints the plan as a comment on a change')
    .action(async (file: string | undefined, flags: PlanFlags) => {
      const { allowList } = flags
      if (file === undefined && allowList === undefined)
        throw new Error('Name the file of a model, --allow-list FILE, or both.')
      const body = {
        ...(file !== undefined && { model: await readFile(file, 'utf8') }),
        ...(allowList !== undefined && { allow_list: await readFile(allowList, 'utf8') }),
      }
      outcome.ok &&= await showPlan(body, flags, dependencies).catch((error: unknown) => {
        throw withPlaces(error, file, body.model)
      })
    })

  asPerson(model.command('plans'))
    .description('Lists the plans that can still be confirmed.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json, ...flags }: PersonFlags & { readonly json: boolean }) => {
      const { plans, more: hasMore } = await ask<OpenPlanList>('/model/plans', flags, dependencies)
      printList(dependencies.terminal, plans, {
        json,
        whenEmpty: 'No plan can be confirmed now.',
        name: 'plan_id',
      })
      if (hasMore) dependencies.terminal.say('There are older ones, which are not shown.')
    })

  asPerson(model.command('rollback [model]'))
    .description('Plans to go back to an earlier model (default: the one before).')
    .action(async (id: string | undefined, flags: PersonFlags) => {
      outcome.ok &&= await showPlan(
        { model_id: id ?? (await previous(flags, dependencies)) },
        flags,
        dependencies,
      )
    })

  asPerson(model.command('apply <plan>'))
    .description('Confirms a plan; the last person needed puts it in force.')
    .option('--reason <text>', 'why it may come into force although tests fail; on record')
    .action(async (id: string, flags: PersonFlags & { readonly reason?: string }) => {
      const { reason } = flags
      const answer = await ask<Applied>('/model/apply', flags, dependencies, { plan_id: id, reason }).catch(
        (error: unknown) => {
          // The service names its field. Whoever types a command needs the flag.
          if (reason !== undefined || !(error instanceof Error) || !error.message.endsWith('(reason)'))
            throw error
          throw new Error(`${error.message} Name it with --reason WHY.`)
        },
      )
      const flagsAgain = `${reason === undefined ? '' : ' --reason WHY'}${asUser(personOf(flags).user && 'NAME')}`
      dependencies.terminal.out(
        answer.state === 'active'
          ? `The model ${answer.model_id ?? ''} is in force, confirmed by ${answer.approved_by.join(', ')}.`
          : `Confirmed by ${answer.approved_by.join(', ')}. Somebody else has to confirm it too: npm run remit -- model show ${id}, then npm run remit -- model apply ${id}${flagsAgain}`,
      )
    })

  asPerson(model.command('show [id]'))
    .description(
      'Shows the model in force, those before it, and plans that wait for another yes; or one plan, by its id or by that of the model, and what its text changes.',
    )
    .action(async (id: string | undefined, flags: PersonFlags) => {
      if (id !== undefined) {
        const path = `/model/plans/${encodeURIComponent(await planOf(id, flags, dependencies))}`
        const { plan, ...diffs } = await ask<PlanRead>(path, flags, dependencies)
        dependencies.terminal.out(`${planToText(plan)}\n${diffToText(diffs)}`)
        return
      }
      dependencies.terminal.out(modelToText(await ask<ActiveModel>('/model', flags, dependencies)))
    })
}

/** Everywhere else `--token` is an access token of Remit's, which would go to another server here. */
function refuseToken(): never {
  throw new Error('The key of the OpenFGA server is --server-token. An access token of Remit is not for it.')
}

interface Applied {
  readonly state: 'awaiting_second' | 'active'
  readonly approved_by: readonly string[]
  readonly model_id?: string
}

/** The service says what is wrong with a model, and not always where it stands. */
function withPlaces(error: unknown, file = '', dsl = ''): unknown {
  if (!(error instanceof Error) || !error.message.endsWith('(model)')) return error
  const places = placesIn(dsl).map(({ line, column, message }) =>
    printable(`${file}:${line}:${column}: ${message}`),
  )
  return new Error([error.message, ...places].join('\n'), { cause: error })
}

/** Whether it could be applied. */
async function showPlan(body: object, flags: PlanFlags, dependencies: CliDeps): Promise<boolean> {
  const { plan } = await ask<PlanMade>('/model/plan', flags, dependencies, body)
  const { json, markdown } = flags
  dependencies.terminal.out(json ? JSON.stringify(plan) : markdown ? planToMarkdown(plan) : planToText(plan))
  if (!plan.complete || plan.refusals.length > 0) return false
  const reason = plan.tests.hold ? '' : ' --reason WHY'
  dependencies.terminal.say(
    `Confirm it with: npm run remit -- model apply ${plan.plan_id}${reason}${asUser(personOf(flags).user)}`,
  )
  return true
}

/** Whoever was named on the line has to be named on the next one: in the demo nobody is signed in. */
const asUser = (user: string | undefined): string => (user === undefined ? '' : ` --as ${user}`)

/** A record names the model that decided, not the plan that brought it. */
async function planOf(id: string, flags: PersonFlags, dependencies: CliDeps): Promise<string> {
  if (id.startsWith('m_')) return id
  const { history } = await ask<ActiveModel>('/model', flags, dependencies)
  const version = history.find(({ model_id }) => model_id === id)
  if (version === undefined) throw new Error(`No model ${id} was ever in force.`)
  if (version.plan_id !== undefined) return version.plan_id
  throw new Error(`A start put ${id} in force at ${version.activated_at}: there is no plan of it.`)
}

async function previous(flags: PersonFlags, dependencies: CliDeps): Promise<string> {
  const { history, model_id } = await ask<ActiveModel>('/model', flags, dependencies)
  const previousVersion = history.find((version) => version.model_id !== model_id)
  if (previousVersion === undefined) throw new Error('There is no earlier model.')
  return previousVersion.model_id
}

const ask = <T>(path: string, flags: PersonFlags, dependencies: CliDeps, body?: object): Promise<T> => {
  return askAs(dependencies, { ...personOf(flags), scope: 'security.write' }, path, body && { body })
}

function apisOf({ server, serverToken }: TestFlags, { openfga }: CliDeps) {
  const engine = {
    name: 'the embedded engine',
    api: createFgaApi({ apiUrl: embeddedUrl, timeoutMs, adapter: openInMemory().adapter }),
  }
  const apiUrl = server ?? openfga?.apiUrl
  // A key belongs to the server it was given for.
  const apiToken = serverToken ?? (server === undefined ? openfga?.apiToken : undefined)
  if (apiUrl === undefined) return [engine]
  const api = createFgaApi({ apiUrl, timeoutMs, ...(apiToken !== undefined && { apiToken }) })
  return [engine, { name: `the server at ${apiUrl}`, api }]
}

export const isPassing = (results: readonly TestResult[]): boolean => results.every(testPasses)

/** What failed, then the counts, in the shape of OpenFGA's own tool. */
export function reportOf(results: readonly TestResult[]): string {
  const failing = results.filter((result) => !testPasses(result))
  const questionResults = results.flatMap((result) => result.results)
  const summary = [
    '# Test Summary #',
    `Tests ${results.length - failing.length}/${results.length} passing`,
    ...countsOf(questionResults, (name, passing) => `${name} ${passing} passing`),
  ]
  return [...failing.map(failureOf), summary.join('\n')].join('\n---\n')
}

const kinds = [
  { kind: 'check', name: 'Checks' },
  { kind: 'list_objects', name: 'ListObjects' },
  { kind: 'list_users', name: 'ListUsers' },
] as const

const testPasses = ({ refused: refusal, results }: TestResult): boolean =>
  refusal === undefined && results.every(({ passed }) => passed)

/** Of each kind that was asked how many pass: `3/4`. */
const countsOf = (
  results: readonly QuestionResult[],
  inWords: (name: string, passing: string) => string,
): string[] =>
  kinds.flatMap(({ kind, name }) => {
    const ofKind = results.filter(({ question }) => question.kind === kind)
    const passing = `${ofKind.filter(({ passed }) => passed).length}/${ofKind.length}`
    return ofKind.length === 0 ? [] : [inWords(name, passing)]
  })

function failureOf({ name, refused: refusal, results }: TestResult): string {
  if (refusal !== undefined) return `(FAILING) ${name}: its tuples are refused: ${refusal}`
  const counts = countsOf(results, (kind, passing) => `${kind} (${passing} passing)`)
  const lines = results.filter(({ passed }) => !passed).map(differenceOf)
  return [`(FAILING) ${name}: ${counts.join(' | ')}`, ...lines].join('\n')
}

function differenceOf({ question, got }: QuestionResult): string {
  return `ⅹ ${questionText(question)}: expected=${answerText(question.expected)}, got=${answerText(got)}${listDifference(question.expected, got)}`
}

function questionText(question: Question): string {
  const contextText = question.context === undefined ? '' : `,context=${JSON.stringify(question.context)}`
  switch (question.kind) {
    case 'check':
      return `Check(user=${question.user},relation=${question.relation},object=${question.object}${contextText})`
    case 'list_objects':
      return `ListObjects(user=${question.user},relation=${question.relation},type=${question.type}${contextText})`
    case 'list_users': {
      const { type, relation } = question.filter
      const filter = relation === undefined ? type : `${type}#${relation}`
      return `ListUsers(object=${question.object},relation=${question.relation},user_filter=${filter}${contextText})`
    }
  }
}

function answerText(answer: Answer): string {
  if (typeof answer === 'boolean') return String(answer)
  return 'error' in answer ? `N/A, error=${answer.error}` : `[${answer.join(' ')}]`
}

/** In a list of forty nobody sees the one that is missing. */
function listDifference(expected: Question['expected'], got: Answer): string {
  if (typeof expected === 'boolean' || typeof got === 'boolean' || 'error' in got) return ''
  const missing = expected
    .filter((expectedItem) => !got.includes(expectedItem))
    .map((missingItem) => `\n    missing:    ${missingItem}`)
  const extra = got
    .filter((gotItem) => !expected.includes(gotItem))
    .map((extraItem) => `\n    unexpected: ${extraItem}`)
  return [...missing, ...extra].join('')
}
