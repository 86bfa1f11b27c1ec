import { z } from 'zod'
import { operator, record } from '../audit/record.ts'
import { parseHeads } from '../audit/seal/heads.ts'
import { readThread, stepToWire } from '../audit/thread.ts'
import type { DemoConsent } from '../delegation/oauth/unasked-consents.ts'
import { assertRecovered } from '../delegation/recovery/restored.ts'
import type { Services } from '../delegation/registry/services.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { type AdminDeps, type Command, command, optional } from './commands/command.ts'
import { directoryCommands, peopleCommands } from './commands/people.ts'
import { registryCommands } from './commands/registry.ts'

/** Keys, the record, and what mends a deployment. */
const keepingCommands = {
  keys_rotate: command(z.strictObject({}), async (_, { keys }) => ({ kid: (await keys.rotate()).kid })),
  vault_list: command(z.strictObject({}), async (_, { vault }) => ({
    accounts: await vault.keyring.counts(),
  })),
  vault_rewrap: command(z.strictObject({}), (_, { vault, newTxn }) =>
    vault.keyring.rewrap(operator(newTxn())),
  ),
  recover: command(
    z.strictObject({
      anyway: z.boolean().default(false),
      heads: z.array(z.looseObject({})).default([]),
      access: optional(z.enum(['end', 'keep'])),
    }),
    async ({ anyway, heads, access }, { mayHaveForgotten, recover, newTxn }) => {
      // It ends everybody's sessions and tokens.
      if (!anyway && !(await mayHaveForgotten()))
        throw new AppError('conflict', {
          public:
            'Neither the database nor OpenFGA is known to be older than the other. Recovering ends every session and token; with --anyway it ends every agent and delegation too. If an older copy of either was put in place all the same, say --anyway.',
        })
      return recover(newTxn(), { heads: parseHeads(heads), access, anyway })
    },
    ({ anyway, heads, access }) => ({
      anyway,
      heads: heads.length,
      access: access ?? null,
    }),
  ),
  trace: command(z.strictObject({ id: z.string().min(1).max(64) }), async ({ id }, { database }) => {
    const { steps, isComplete } = await readThread(database, id)
    return { steps: steps.map(stepToWire), complete: isComplete }
  }),
  audit_verify: command(
    // A head holds everything before it: few of a file are enough, and they have to fit into a request.
    z.strictObject({
      heads: z.array(z.looseObject({})).max(100).default([]),
      resume: z.boolean().default(false),
    }),
    async ({ heads, resume }, { database, record: keeping }) => {
      // It seals, and the copy's next seal would be another than the one that was kept.
      await assertRecovered(database)
      return keeping.verify(parseHeads(heads), resume)
    },
    ({ heads, resume }) => ({ heads: heads.length, resume }),
  ),
  audit_heads: command(
    z.strictObject({ after: z.int().min(0).default(0), limit: z.int().min(1).max(10_000).default(10_000) }),
    async ({ after: afterSeal, limit }, { record: keeping }) => ({
      heads: await keeping.heads(afterSeal, limit),
    }),
  ),
  audit_erase: command(
    z.strictObject({ subject: z.string().regex(/^user:[^*]/, 'must be user:SUBJECT, such as user:anne') }),
    async ({ subject }, { database, record: keeping }) => {
      await assertRecovered(database)
      return keeping.erase(subject)
    },
    // Whom it erases is what it must not keep.
    () => ({}),
  ),
  drift: command(z.strictObject({}), async (_, { database, drift, mayHaveForgotten }) => {
    // The copy's tags would go into an OpenFGA that may know better.
    await assertRecovered(database)
    if (await mayHaveForgotten())
      throw new AppError('conflict', {
        public:
          'The database or OpenFGA is an older copy of itself, or a recovery has not ended. Run `remit recover` first (docs/recovery.md).',
      })
    return drift()
  }),
} as const satisfies Record<string, Command>

/** What speaks for people in the demo, and finds the service that writes. */
const demoCommands = {
  demo: command(z.strictObject({}), async (_, { demoConsent, publicUrl }) => {
    assertDemo(demoConsent)
    return { url: publicUrl }
  }),
  demo_confirm: command(
    z.strictObject({ code: z.string().max(40), user: z.string() }),
    async ({ code, user }, { demoConsent }) => {
      await assertDemo(demoConsent).confirm(code, user)
      return { user }
    },
  ),
  writer: command(
    z.strictObject({ service: optional(z.string()), collection: optional(z.string()) }),
    async (request, { demoConsent, services }) => {
      if (demoConsent === undefined)
        // Whoever signs in is a person, and no person writes.
        throw new AppError('forbidden', {
          public:
            'A service writes here, and REMIT_TOKEN needs its access token (scope docs.write). How one is had: docs/your-own-documents.md, "Outside the demo".',
        })
      return { service: request.service ?? (await theWriter(services, request.collection)) }
    },
  ),
} as const satisfies Record<string, Command>

function assertDemo(consent: DemoConsent | undefined): DemoConsent {
  if (consent !== undefined) return consent
  throw new AppError('forbidden', {
    public:
      'Tokens are given out like this in the demo only. Elsewhere sign in (remit login), exchange, or ask an issuer of TRUSTED_ISSUERS.',
  })
}

/** The service that writes to a collection, or the only one there is; never one of several. */
async function theWriter(services: Services, collection: string | undefined): Promise<string> {
  const able = (await services.list()).filter(
    ({ collections }) => collection === undefined || collections.includes(collection),
  )
  const [only, ...otherServices] = able.map(({ name }) => name)
  const writingTo = collection === undefined ? '' : ` that writes to ${collection}`
  if (only === undefined)
    throw invalid(
      'service',
      `There is no service${writingTo}. Add one: npm run remit -- service add NAME --collection X.`,
    )
  if (otherServices.length > 0)
    throw invalid(
      'service',
      `Several services fit: ${[only, ...otherServices].join(', ')}. Name one with --service.`,
    )
  return only
}

/** Every command that the machine's operator has, by name. Arguments and answers are JSON. */
const commands = {
  ...demoCommands,
  ...registryCommands,
  ...directoryCommands,
  ...peopleCommands,
  ...keepingCommands,
} as const

/** The name of a command with machine rights. */
export type CommandName = keyof typeof commands

/**
 * Runs one command. It is put on record before it runs, so that nothing happens unrecorded; its answer, which
 * may be a token, never is. All of it has one `txn`, an error too. Throws `not_found` for no such command and
 * `invalid_request` for wrong arguments.
 */
export async function runCommand(name: string, args: unknown, dependencies: AdminDeps): Promise<object> {
  if (!isCommand(name)) throw new AppError('not_found', { public: `There is no command ${name}.` })
  const { checked, run } = commands[name](args)
  const txn = dependencies.newTxn()
  await record(dependencies.database, operator(txn), {
    event: 'command',
    command: name,
    arguments: { ...checked },
  })
  try {
    return await run({ ...dependencies, newTxn: () => txn })
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'internal_error'
    // Without a database it stays on record as begun, and why it failed is what its caller has to hear.
    await record(dependencies.database, operator(txn), {
      event: 'command_failed',
      command: name,
      code,
    }).catch(() => undefined)
    throw error
  }
}

const isCommand = (name: string): name is CommandName => Object.hasOwn(commands, name)
