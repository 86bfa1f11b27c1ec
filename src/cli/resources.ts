import { type Command, Option } from 'commander'
import { repeatable } from './ids.ts'
import { addList, type MachineDeps } from './listing.ts'

interface ResourceFlags {
  readonly scope: string[]
  readonly detailsType: string[]
  readonly allow: string[]
  readonly accept: string[]
  readonly verification: boolean
  readonly anyClient: boolean
  readonly owner?: string
}

/** Commands for the APIs of others that tokens can be for. */
export function addResourceCommands(program: Command, { admin, terminal }: MachineDeps): void {
  const resource = program.command('resource').description('Works on the APIs that tokens can be for.')
  resource
    .command('add <url>')
    .description('Registers another’s API, or gives it exactly these properties.')
    .addOption(
      new Option('--scope <scope>', 'what tokens for it may hold; repeat for more')
        .argParser(repeatable())
        .makeOptionMandatory(),
    )
    .option('--details-type <type>', 'type of authorization_details that it knows; repeat', repeatable(), [])
    .option(
      '--allow <client>',
      'may have tokens for it, by exchange as well; repeat for more',
      repeatable(),
      [],
    )
    .option('--any-client', 'every client of a person or an agent may ask people for it', false)
    .option(
      '--accept <words>',
      '"URL SCOPE=SCOPE": what a scope of another API counts as here, by exchange; repeat',
      repeatable(),
      [],
    )
    .option('--no-verification', 'what people agree to for it takes no passkey of theirs')
    .option('--owner <client>', 'its own client, which may ask about tokens and pass them on')
    .action(async (url: string, flags: ResourceFlags) => {
      const { scope, detailsType, allow, anyClient, accept, verification, owner } = flags
      if (anyClient === allow.length > 0)
        throw new Error('Name its clients with --allow, or say --any-client.')
      await admin.run('resource_add', {
        resource: url,
        scopes: scope,
        authorization_details_types: detailsType,
        ...(!anyClient && { allowed_clients: allow }),
        accepts: acceptsIn(accept),
        takes_verification: verification,
        ...(owner !== undefined && { owner_client: owner }),
      })
      terminal.say(`Tokens can be for ${url} from now on.`)
    })
  addList(resource, { admin, terminal }, 'resource', {
    description: 'Prints Remit’s own APIs and every other.',
    whenEmpty: 'No APIs.',
    json: 'one line of JSON each; allowed_clients null: any',
  })
  resource
    .command('remove <url>')
    .description('No token is made for it from now on; those that were end within 300 s.')
    .action(async (url: string) => {
      await admin.run('resource_remove', { resource: url })
      terminal.say(`No token is made for ${url} any more.`)
    })
}

/** `https://orders.example read=orders.read`, several of them. */
function acceptsIn(lines: readonly string[]): Record<string, Record<string, string>> {
  const accepts: Record<string, Record<string, string>> = {}
  for (const line of lines) {
    const [, api, sourceScope, targetScope] = /^(\S+) ([^\s=]+)=([^\s=]+)$/.exec(line) ?? []
    if (api === undefined || sourceScope === undefined || targetScope === undefined)
      throw new Error(`--accept is "URL SCOPE=SCOPE", not "${line}".`)
    accepts[api] = { ...accepts[api], [sourceScope]: targetScope }
  }
  return accepts
}
