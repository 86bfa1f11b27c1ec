import { type Command, Option } from 'commander'
import { keyAttributes } from '../directory/directories.ts'
import { type MachineDeps, printList } from './listing.ts'

interface AddFlags {
  readonly namespace: string
  readonly prefix: string
  readonly keyAttribute: string
}

interface TokenFlags {
  readonly days: string
  readonly only: boolean
}

/** Commands for directories that bring people and groups by SCIM. */
export function addDirectoryCommands(program: Command, { admin, terminal }: MachineDeps): void {
  const directory = program
    .command('directory')
    .description('Works on directories that bring people and groups by SCIM.')
  directory
    .command('add <name>')
    .description('Registers a directory. Its properties never change.')
    .requiredOption('--namespace <namespace>', 'of the trusted issuer whose people it brings')
    .requiredOption('--prefix <prefix>', 'beginning of the ids of its groups; ends in /')
    .addOption(
      new Option('--key-attribute <attribute>', 'what is the issuer’s subject of a person')
        .choices(keyAttributes)
        .makeOptionMandatory(),
    )
    .action(async (name: string, { namespace, prefix, keyAttribute }: AddFlags) => {
      const { base_url: baseUrl } = await admin.run('directory_add', {
        name,
        namespace,
        prefix,
        key_attribute: keyAttribute,
      })
      terminal.say(
        `The directory ${name} brings people of ${namespace} and groups ${prefix}… to ${String(baseUrl)}. Its token: remit directory token ${name}`,
      )
    })
  directory
    .command('token <name>')
    .description('Prints a new token, which is kept nowhere. Two of them count at a time.')
    .option('--days <days>', 'how long it counts, up to 400 days', '180')
    .option('--only', 'every other token of the directory ends now', false)
    .action(async (name: string, { days, only }: TokenFlags) => {
      const { token, expires_at: expiresAt } = await admin.run('directory_token', {
        name,
        days: Number(days),
        only,
      })
      terminal.out(String(token))
      terminal.say(`It counts until ${String(expiresAt)}.`)
    })
  directory
    .command('list')
    .description('Prints every directory, how many people and groups it brought, and when its tokens end.')
    .option('--json', 'one line of JSON each', false)
    .action(async ({ json }: { readonly json: boolean }) => {
      const { directories } = await admin.run('directory_list', {})
      printList(terminal, directories, { json, whenEmpty: 'No directories.', name: 'directory' })
    })
  directory
    .command('groups <name>')
    .description('Prints the groups of a directory with the names that it gave them.')
    .option('--json', 'one line of JSON each', false)
    .action(async (name: string, { json }: { readonly json: boolean }) => {
      const { groups } = await admin.run('directory_groups', { name })
      printList(terminal, groups, { json, whenEmpty: 'No groups.', name: 'group' })
    })
}
