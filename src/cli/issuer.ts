import { readFile } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import { idTokenAlgorithms, requestAlgorithms } from '../delegation/registry/clients.ts'
import { AppError } from '../kernel/errors.ts'
import { pluralize } from '../kernel/pluralize.ts'
import type { AdminClient } from './admin-client.ts'
import { bare, repeatable, typed } from './ids.ts'
import { makeKeyPair } from './key-pair.ts'
import { printFacts, printList } from './listing.ts'
import type { Terminal } from './terminal.ts'

interface IssuerCommandsDeps {
  readonly admin: AdminClient
  readonly terminal: Terminal
}

interface ClientFlags {
  readonly kind: string
  readonly of?: string
  readonly title: string
  readonly redirectUri: string[]
  readonly jwks?: string
  readonly ping?: string
  readonly signs?: string
  readonly idTokens?: string
}

/** Commands of the built-in authorization server: accounts, clients, what was lent, agents, signing keys. */
export function addIssuerCommands(program: Command, { admin, terminal }: IssuerCommandsDeps): void {
  const person = program.command('person').description('Works on people.')
  person
    .command('disable <key>')
    .description('Ends every sign-in and token of theirs, an agent’s for them included. Also NAMESPACE/KEY.')
    .option('--unknown', 'bars somebody of whom there is no account yet', false)
    .action(async (key: string, { unknown }: { readonly unknown: boolean }) => {
      await admin.run('person_disable', { key: bare('user')(key), unknown })
      terminal.say(`${key} is disabled.`)
    })
  person
    .command('enable <key>')
    .description('Takes that back: they may sign in again. What they had lent stands as it stood.')
    .action(async (key: string) => {
      await admin.run('person_enable', { key: bare('user')(key) })
      terminal.say(`${key} is enabled.`)
    })
  person
    .command('move <old> <new>')
    .description('Prints what stands under one key of a person, and with --confirm moves it to another.')
    .option('--confirm', 'moves it: the old key is disabled for good', false)
    .option('--json', 'prints it as JSON', false)
    .action(
      async (old: string, newSubject: string, { confirm, json }: { confirm: boolean; json: boolean }) => {
        const args = { from: bare('user')(old), to: bare('user')(newSubject), confirm }
        const answer = await admin.run('person_move', args)
        const { tags, tuples, ...others } = answer
        // The members’ names are those of the code.
        const readable = { 'named on documents and folders': tags, 'tuples in OpenFGA': tuples, ...others }
        printFacts(terminal, json ? answer : readable, json)
        if (!confirm) terminal.say('Nothing was moved. To move it: --confirm')
      },
    )
  person
    .command('add <key>')
    .description('Adds an account, or changes its name. It can sign in once it has a password.')
    .requiredOption('--name <name>', 'what people call them')
    .action(async (input: string, { name }: { readonly name: string }) => {
      const key = bare('user')(input)
      await admin.run('person_add', { key, name })
      terminal.say(`The account ${key} is there. Give it a password: npm run remit -- password ${key}`)
    })

  program
    .command('password <user>')
    .description(
      'Gives an account a new password, prints it, and ends its sign-ins and programs that act as it.',
    )
    .action(async (user: string) =>
      terminal.out(String((await admin.run('password', { user: bare('user')(user) }))['password'])),
    )

  const clients = program.command('client').description('Works on clients of the authorization server.')
  clients
    .command('list')
    .description('Prints every registered client.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const answer = await admin.run('client_list', {})
      printList(terminal, answer['clients'], { json, whenEmpty: 'No clients.', name: 'client' })
    })
  clients
    .command('add <id>')
    .description('Registers a client, or changes its registration; its kind stays.')
    .addOption(
      new Option('--kind <kind>', 'whose it is')
        .choices(['person', 'agent', 'service'])
        .makeOptionMandatory(),
    )
    .option('--of <id>', 'the agent or the service that it is')
    .requiredOption('--title <title>', 'what people are shown')
    .option('--redirect-uri <uri>', 'where the browser may return to; repeat for more', repeatable(), [])
    .option('--jwks <file>', 'its public keys (JWK set); left out: a public client')
    .option('--ping <url>', 'where an agent’s client is told that a person answered; left out: it polls')
    .addOption(
      new Option('--signs <algorithm>', 'it asks people by signed requests only; left out: it may').choices(
        requestAlgorithms,
      ),
    )
    .addOption(
      new Option(
        '--id-tokens <algorithm>',
        'what its ID tokens are signed by; left out: RS256, and ES256 with --signs',
      ).choices(idTokenAlgorithms),
    )
    .action(async (id: string, flags: ClientFlags) => {
      const { kind, of: ownerId, title, redirectUri, jwks, ping, signs, idTokens } = flags
      await admin.run('client_add', {
        client_id: id,
        kind,
        title,
        redirect_uris: redirectUri,
        ...(ownerId !== undefined && { of: bare(kind === 'service' ? 'service' : 'agent')(ownerId) }),
        ...(jwks !== undefined && { jwks: await keysIn(jwks) }),
        ...(ping !== undefined && { notification_endpoint: ping }),
        ...(signs !== undefined && { request_algorithm: signs }),
        ...(idTokens !== undefined && { id_token_algorithm: idTokens }),
      })
      terminal.say(`The client ${id} is registered.`)
    })

  clients
    .command('key-pair <name>')
    .description(
      'Makes a key pair (ES256): NAME.key.json stays with the program, NAME.jwks.json is for client add. Over nothing.',
    )
    .action(async (name: string) => {
      for (const path of await makeKeyPair(name)) terminal.say(`Written: ${path}`)
    })

  clients
    .command('remove <id>')
    .description('Takes a client away, with every consent that people gave it.')
    .action(async (id: string) => {
      const answer = await admin.run('client_remove', { client_id: id })
      terminal.say(
        `The client ${id} is gone, and ${pluralize(Number(answer['consents_ended']), 'consent')} with it.`,
      )
    })

  const delegation = program.command('delegation').description('Works on what people have lent to agents.')
  delegation
    .command('list <user>')
    .description('Prints what a person has lent.')
    .option('--json', 'one line of JSON each', false)
    .action(async (user: string, { json }: { readonly json: boolean }) => {
      const { delegations } = await admin.run('delegation_list', { user: typed('user')(user) })
      printList(terminal, delegations, { json, whenEmpty: 'Nothing lent.', name: 'delegation' })
    })
  delegation
    .command('revoke <id>')
    .description('Takes back what was lent: no token under it counts from now on.')
    .action(async (id: string) => {
      await admin.run('delegation_revoke', { id: bare('delegation')(id) })
      terminal.say(`The delegation ${id} is over.`)
    })

  const agent = program.command('agent').description('Works on agents.')
  agent
    .command('add <id>')
    .description('Registers an agent, or gives it exactly these properties. Never enables a disabled one.')
    .requiredOption('--owner <user>', 'who answers for it, for example user:anne', typed('user'))
    .requiredOption('--purpose <text>', 'what it is for, as people are told')
    .option('--title <title>', 'what people are shown beside its id')
    .addOption(
      new Option('--scope <scope>', 'its tokens hold no other; repeat for more')
        .argParser(repeatable())
        .makeOptionMandatory(),
    )
    .option(
      '--collection <id>',
      'it reads nothing filed elsewhere; repeat for more',
      repeatable(bare('collection')),
      [],
    )
    .option('--any-collection', 'it may read wherever people lend it something', false)
    .option('--jwks <file>', 'its public keys (JWK set), which verify its actor tokens')
    .option(
      '--host-client <id>',
      'a client, not its own, through which it acts by actor tokens of its key; repeat for more',
      repeatable(),
      [],
    )
    .option('--actor-issuer <iss>', 'how a token of another issuer names it: act.iss')
    .option('--actor-sub <sub>', 'and act.sub')
    .addOption(
      new Option(
        '--end-lent',
        'what people lent it ends: needed where another program could act as it, or it would reach further',
      ).conflicts('keepLent'),
    )
    .option(
      '--keep-lent',
      'what people lent it stays: it is the same program, and they know how far it reaches',
    )
    .action(async (input: string, flags: AgentFlags) => {
      const id = bare('agent')(input)
      const answer = await admin.run('agent_add', await agentArguments(id, flags))
      terminal.say(
        answer['replaced'] === true
          ? `The agent ${id} was registered already: what was said of it is replaced.`
          : `The agent ${id} is registered.`,
      )
      if (flags.endLent === true) terminal.say(`Delegations ended: ${String(answer['delegations_ended'])}.`)
      const unknownScopes = z.array(z.string()).parse(answer['unknown_scopes'])
      if (unknownScopes.length > 0)
        terminal.say(
          `Note: no API here has ${unknownScopes.join(', ')} yet. It gives the agent nothing so far.`,
        )
      if (answer['owner_known'] === false)
        terminal.say(`Note: there is no account of its owner ${flags.owner} yet.`)
    })
  agent
    .command('list')
    .description('Prints every agent. Scopes or collections that are not shown are not limited.')
    .option('--json', 'one line of JSON each; null: not limited', false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const { agents } = await admin.run('agent_list', {})
      printList(terminal, agents, { json, whenEmpty: 'No agents.', name: 'agent' })
    })
  agent
    .command('enable <id>')
    .description(
      'Takes the kill switch back. Where people have lent it something, it asks what becomes of that.',
    )
    .addOption(new Option('--end-lent', 'what people lent it ends: they lend anew').conflicts('keepLent'))
    .option('--keep-lent', 'the switch was pulled by mistake: what people lent it counts again')
    .action(async (input: string, flags: LentFlags) => {
      const id = bare('agent')(input)
      const enable = async (delegationsThen: Lent) => {
        const { ended } = await admin.run('agent_enable', { id, ...delegationsThen })
        return delegationsThen.lent === 'end' ? ` Delegations ended: ${String(ended)}.` : ''
      }
      const saidOfLent = await enable(lentOf(flags)).catch(async (error: unknown) => {
        if (!(error instanceof AppError) || error.code !== 'conflict') throw error
        const delegationsThen = await terminal.ask(`${error.public} Type end or keep:`)
        if (delegationsThen !== 'end' && delegationsThen !== 'keep') throw error
        return enable({ lent: delegationsThen })
      })
      terminal.say(`The agent ${id} is enabled.${saidOfLent}`)
    })
  agent
    .command('disable <id>')
    .description('The kill switch: no token in whose chain it stands counts from now on.')
    .action(async (id: string) => {
      await admin.run('agent_disable', { id: bare('agent')(id) })
      terminal.say(`The agent ${id} is disabled.`)
    })

  program
    .command('keys')
    .description('Works on the keys that sign access tokens.')
    .command('rotate')
    .description('Signs with a new key from now on. The old one is published for a day more.')
    .action(async () =>
      terminal.say(`Signing with the new key ${String((await admin.run('keys_rotate', {}))['kid'])}.`),
    )
}

const keysIn = async (file: string): Promise<unknown> => JSON.parse(await readFile(file, 'utf8'))

interface LentFlags {
  readonly endLent?: boolean
  readonly keepLent?: boolean
}

/** What becomes of what people lent an agent; left out: nobody said. */
interface Lent {
  readonly lent?: 'end' | 'keep'
}

function lentOf({ endLent, keepLent }: LentFlags): Lent {
  if (endLent === true) return { lent: 'end' }
  return keepLent === true ? { lent: 'keep' } : {}
}

interface AgentFlags extends LentFlags {
  readonly owner: string
  readonly purpose: string
  readonly title?: string
  readonly scope: string[]
  readonly collection: string[]
  readonly anyCollection: boolean
  readonly hostClient: string[]
  readonly jwks?: string
  readonly actorIssuer?: string
  readonly actorSub?: string
}

async function agentArguments(id: string, flags: AgentFlags): Promise<object> {
  const { owner, purpose, title, scope, collection, anyCollection, jwks } = flags
  const { hostClient, actorIssuer, actorSub } = flags
  if (anyCollection === collection.length > 0)
    throw new Error('Name its collections with --collection, or say --any-collection.')
  if ((actorIssuer === undefined) !== (actorSub === undefined))
    throw new Error('--actor-issuer and --actor-sub belong together.')
  return {
    id,
    owner,
    purpose,
    scopes: scope,
    collections: anyCollection ? null : collection,
    ...(title !== undefined && { title }),
    ...(hostClient.length > 0 && { host_clients: hostClient }),
    ...(actorIssuer !== undefined && { actor: { issuer: actorIssuer, sub: actorSub } }),
    ...(jwks !== undefined && { jwks: await keysIn(jwks) }),
    ...lentOf(flags),
  }
}
