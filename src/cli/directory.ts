import { readFile } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import { keyAttributes } from '../directory/directories.ts'
import { OperatorError } from '../kernel/operator-error.ts'
import { printable } from '../kernel/printable.ts'
import { type MachineDeps, printList } from './listing.ts'

interface AddFlags {
  readonly kind: 'scim' | 'ldap' | 'keycloak'
  readonly namespace: string
  readonly prefix: string
  readonly keyAttribute?: string
  readonly settings?: string
  readonly secret?: string
  readonly poll?: string
  readonly maxAge?: string
  readonly required: boolean
}

interface TokenFlags {
  readonly days: string
  readonly only: boolean
}

/** Commands for directories that bring people and groups. */
export function addDirectoryCommands(program: Command, { admin, terminal }: MachineDeps): void {
  const directory = program
    .command('directory')
    .description(
      'Works on directories that bring people and groups: by SCIM, or read by LDAP or from Keycloak.',
    )
  directory
    .command('add <name>')
    .description('Registers a directory. Name, namespace, prefix, kind and key never change.')
    .addOption(
      new Option('--kind <kind>', 'how it comes').choices(['scim', 'ldap', 'keycloak']).default('scim'),
    )
    .requiredOption('--namespace <namespace>', 'of the trusted issuer whose people it brings')
    .requiredOption('--prefix <prefix>', 'beginning of the ids of its groups; ends in /')
    .addOption(
      new Option('--key-attribute <attribute>', 'of SCIM: what is the issuer’s subject of a person').choices(
        keyAttributes,
      ),
    )
    .option('--settings <file>', 'of the others: a file of JSON with what the kind asks for')
    .option('--secret <name>', 'of the others: an entry of DIRECTORY_SECRETS for this kind and origin')
    .option('--poll <seconds>', 'of the others: between two readings; 300 if left out')
    .option(
      '--max-age <seconds>',
      'of the others: for which memberships count after a reading; a day if left out',
    )
    .option('--required', 'of the others: people count no longer than that either', false)
    .action(async (name: string, { kind, namespace, prefix, ...flags }: AddFlags) => {
      const about = { name, kind, namespace, prefix }
      const { keyAttribute, settings, secret, poll, maxAge, required: isRequired } = flags
      if (kind === 'scim') {
        if (isRequired)
          throw new OperatorError('A directory by SCIM says nothing while nothing changes: no --required.')
        if (keyAttribute === undefined)
          throw new OperatorError('A directory by SCIM needs --key-attribute: what is the issuer’s subject.')
        const { base_url: baseUrl } = await admin.run('directory_add', {
          ...about,
          key_attribute: keyAttribute,
        })
        terminal.say(
          `The directory ${name} brings people of ${namespace} and groups ${prefix}… to ${String(baseUrl)}. Its token: remit directory token ${name}`,
        )
        return
      }
      await admin.run('directory_add', {
        ...about,
        settings: settings === undefined ? {} : (JSON.parse(await readFile(settings, 'utf8')) as unknown),
        secret,
        ...(poll !== undefined && { poll_seconds: Number(poll) }),
        ...(maxAge !== undefined && { max_age_seconds: Number(maxAge) }),
        ...(isRequired && { required: true }),
      })
      terminal.say(
        `The directory ${name} is read for people of ${namespace} and groups ${prefix}…. How that goes: remit directory list`,
      )
    })
  directory
    .command('sync <name>')
    .description('Has a directory read now that the service reads.')
    .action(async (name: string) => {
      await admin.run('directory_sync', { name })
      terminal.say(`The directory ${name} is read next.`)
    })
  directory
    .command('waiting <name>')
    .description(
      'Prints who would end, or come back, by your word only: too many at once, the directory may be wrong.',
    )
    .option('--json', 'one line of JSON for everybody with whom the same would be done', false)
    .action(async (name: string, { json }: { readonly json: boolean }) => {
      const { waiting } = waitingForm.parse(await admin.run('directory_waiting', { name }))
      for (const set of waiting) terminal.out(json ? JSON.stringify(set) : waitingText(name, set))
      if (waiting.length === 0) terminal.say('Nothing waits.')
    })
  directory
    .command('confirm <name>')
    .description('Has done what waits for your word, with exactly those whom waiting names.')
    .requiredOption('--digest <digest>', 'of them, as waiting says')
    .action(async (name: string, { digest }: { readonly digest: string }) => {
      await admin.run('directory_confirm', { name, digest })
      terminal.say(`It is done by the next reading of ${name}, now.`)
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

const waitingForm = z.object({
  waiting: z.array(
    z.object({
      what: z.enum(['end', 'unblock', 'return']),
      digest: z.string(),
      members: z.array(
        z.object({ member: z.string(), group: z.string().nullable(), name: z.string().nullable() }),
      ),
    }),
  ),
})
type Waiting = z.output<typeof waitingForm>['waiting'][number]

const becomes: Readonly<Record<Waiting['what'], string>> = {
  end: 'They are missing, and shut out. What they have would end for good',
  unblock: 'They are missing from groups that keep them from something, and would read more',
  return: 'They were ended, and would be active again',
}

function waitingText(directory: string, { what, digest, members }: Waiting): string {
  const lines = members.map(({ member, group, name }) =>
    printable(group === null ? `  ${member}` : `  ${member} in ${group} (${name ?? ''})`),
  )
  return [`${becomes[what]}: directory confirm ${directory} --digest ${digest}`, ...lines].join('\n')
}
