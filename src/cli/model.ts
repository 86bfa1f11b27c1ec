import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { embeddedUrl, openInMemory } from '../authz/embedded.ts'
import { readStoreFile } from '../authz/model/store-file.ts'
import { testStoreFile } from '../authz/model/store-test.ts'
import { createFgaApi } from '../authz/openfga.ts'
import { personToken } from './as-person.ts'
import type { CliDeps } from './deps.ts'
import { bare } from './ids.ts'
import { printList } from './listing.ts'
import { planToMarkdown } from './model-markdown.ts'
import {
  diffToText,
  modelToText,
  planToText,
  type WireModel,
  type WireOpenPlans,
  type WirePlan,
  type WirePlanRead,
} from './model-plan.ts'
import { isPassing, reportOf } from './model-report.ts'
import { createRemitHttp, problemOf } from './remit-http.ts'

interface TestFlags {
  readonly server?: string
  readonly token?: string
}

interface PlanFlags extends PersonFlags {
  readonly allowList?: string
  readonly json?: boolean
  readonly markdown?: boolean
}

interface PersonFlags {
  readonly user?: string
  readonly token?: string
  readonly url?: string
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
    .option('--token <key>', 'its preshared key (default: OPENFGA_API_TOKEN)')
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
      outcome.ok &&= await showPlan(body, flags, dependencies)
    })

  asPerson(model.command('plans'))
    .description('Lists the plans that can still be confirmed.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json, ...flags }: PersonFlags & { readonly json: boolean }) => {
      const { plans, more: hasMore } = await ask<WireOpenPlans>(
        'GET',
        '/model/plans',
        undefined,
        flags,
        dependencies,
      )
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
      const body = { plan_id: id, ...(reason !== undefined && { reason }) }
      const answer = await ask<Applied>('POST', '/model/apply', body, flags, dependencies)
      const flagsAgain = `${reason === undefined ? '' : ' --reason WHY'}${asUser(flags.user && 'NAME')}`
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
        const { plan, ...diffs } = await ask<WirePlanRead>('GET', path, undefined, flags, dependencies)
        dependencies.terminal.out(`${planToText(plan)}\n${diffToText(diffs)}`)
        return
      }
      dependencies.terminal.out(
        modelToText(await ask<WireModel>('GET', '/model', undefined, flags, dependencies)),
      )
    })
}

interface Applied {
  readonly state: 'awaiting_second' | 'active'
  readonly approved_by: readonly string[]
  readonly model_id?: string
}

const asPerson = (command: Command): Command =>
  command
    .option('--user <user>', 'the administrator who asks (demo)', bare('user'))
    .option('--token <token>', 'the administrator’s access token (default: REMIT_TOKEN, or your sign-in)')
    .option('--url <url>', 'address of the service')

/** Whether it could be applied. */
async function showPlan(body: object, flags: PlanFlags, dependencies: CliDeps): Promise<boolean> {
  const { plan } = await ask<{ readonly plan: WirePlan }>('POST', '/model/plan', body, flags, dependencies)
  const { json, markdown } = flags
  dependencies.terminal.out(json ? JSON.stringify(plan) : markdown ? planToMarkdown(plan) : planToText(plan))
  if (!plan.complete || plan.refusals.length > 0) return false
  const reason = plan.tests.hold ? '' : ' --reason WHY'
  dependencies.terminal.say(
    `Confirm it with: npm run remit -- model apply ${plan.plan_id}${reason}${asUser(flags.user)}`,
  )
  return true
}

/** Whoever was named on the line has to be named on the next one: in the demo nobody is signed in. */
const asUser = (user: string | undefined): string => (user === undefined ? '' : ` --user ${user}`)

/** A record names the model that decided, not the plan that brought it. */
async function planOf(id: string, flags: PersonFlags, dependencies: CliDeps): Promise<string> {
  if (id.startsWith('m_')) return id
  const { history } = await ask<WireModel>('GET', '/model', undefined, flags, dependencies)
  const version = history.find(({ model_id }) => model_id === id)
  if (version === undefined) throw new Error(`No model ${id} was ever in force.`)
  if (version.plan_id !== undefined) return version.plan_id
  throw new Error(`A start put ${id} in force at ${version.activated_at}: there is no plan of it.`)
}

async function previous(flags: PersonFlags, dependencies: CliDeps): Promise<string> {
  const { history, model_id } = await ask<WireModel>('GET', '/model', undefined, flags, dependencies)
  const previousVersion = history.find((version) => version.model_id !== model_id)
  if (previousVersion === undefined) throw new Error('There is no earlier model.')
  return previousVersion.model_id
}

async function ask<T>(
  method: string,
  path: string,
  body: object | undefined,
  flags: PersonFlags,
  dependencies: CliDeps,
): Promise<T> {
  const { token, user } = flags
  const url = (flags.url ?? dependencies.publicUrl).replace(/\/$/, '')
  const http = createRemitHttp({
    url,
    token: () => personToken({ url, token, user, scope: 'security.write' }, dependencies),
    fetch: dependencies.fetch,
  })
  const response = await http.send(path, () => ({
    method,
    ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  }))
  if (!response.ok) throw new Error(await problemOf(response))
  return (await response.json()) as T
}

function apisOf({ server, token }: TestFlags, { openfga }: CliDeps) {
  const engine = createFgaApi({ apiUrl: embeddedUrl, timeoutMs, adapter: openInMemory().adapter })
  const apiUrl = server ?? openfga?.apiUrl
  // A key belongs to the server it was given for.
  const apiToken = token ?? (server === undefined ? openfga?.apiToken : undefined)
  const real =
    apiUrl === undefined
      ? []
      : [
          {
            name: `the server at ${apiUrl}`,
            api: createFgaApi({ apiUrl, timeoutMs, ...(apiToken !== undefined && { apiToken }) }),
          },
        ]
  return [{ name: 'the embedded engine', api: engine }, ...real]
}
