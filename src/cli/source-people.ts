import { readFile } from 'node:fs/promises'
import type { SourcePeople, SourcePerson } from '@remit/contract/source-people'
import type { Command } from 'commander'
import { pluralize } from '../kernel/pluralize.ts'
import { printable } from '../kernel/printable.ts'
import { asPerson, type PersonFlags } from './as-person.ts'
import type { Terminal } from './terminal.ts'

/** What {@link addPeopleCommands} works with. */
export interface PeopleCommandDeps {
  readonly terminal: Terminal
  /** Asks the service: a path, who asks, and a body. */
  readonly ask: <T>(path: string, flags: PersonFlags, body?: object) => Promise<T>
}

interface ListFlags extends PersonFlags {
  readonly json: boolean
  readonly state?: string
}

/** `remit source people …`: who the accounts of a source are. */
export function addPeopleCommands(group: Command, { terminal, ask }: PeopleCommandDeps): void {
  const pathOf = (id: string): string => `/sources/${encodeURIComponent(id)}/people`

  asPerson(group.command('people <id>'))
    .description('Prints who the accounts of a source are, which of them are nobody, and why.')
    .option('--state <state>', 'linked, suspended or unknown: those alone')
    .option('--json', 'one line of JSON each', false)
    .action(async (id: string, { json, state, ...flags }: ListFlags) => {
      const filter = state === undefined ? '' : `&state=${encodeURIComponent(state)}`
      let after = ''
      let page: SourcePeople
      do {
        page = await ask<SourcePeople>(`${pathOf(id)}?limit=1000${filter}${after}`, flags)
        for (const person of page.people) terminal.out(json ? JSON.stringify(person) : lineOf(person))
        after = page.next === null ? '' : `&after=${encodeURIComponent(page.next)}`
      } while (page.next !== null)
      terminal.say(countLine(page))
      if (page.proposed !== null) terminal.say(proposalLines(id, page.proposed))
    })

  asPerson(group.command('link <id>'))
    .description('Says who accounts of a source are; another administrator confirms it.')
    .requiredOption('--people <file>', 'a file of JSON: [{"account": "7", "subject": "user:anne"}, …]')
    .action(async (id: string, { people, ...flags }: { readonly people: string } & PersonFlags) => {
      const { proposed } = await ask<SourcePeople>(pathOf(id), flags, {
        action: 'propose',
        people: JSON.parse(await readFile(people, 'utf8')) as unknown,
      })
      if (proposed !== null) terminal.out(proposalLines(id, proposed))
    })
  asPerson(group.command('confirm-link <id>'))
    .description('Confirms who accounts are, as another administrator said it and people shows it.')
    .requiredOption('--digest <digest>', 'of what was proposed, as people says')
    .action(async (id: string, { digest, ...flags }: { readonly digest: string } & PersonFlags) => {
      terminal.out(countLine(await ask<SourcePeople>(pathOf(id), flags, { action: 'confirm', digest })))
    })
  asPerson(group.command('unlink <id> <account>'))
    .description('Makes an account of a source nobody, until two administrators say who it is.')
    .action(async (id: string, account: string, flags: PersonFlags) => {
      terminal.out(countLine(await ask<SourcePeople>(pathOf(id), flags, { action: 'suspend', account })))
    })
}

function lineOf(person: SourcePerson): string {
  const {
    account,
    name,
    address,
    state,
    subject,
    linked_by: linkedBy,
    reason,
    held: isHeld,
    gone: isGone,
  } = person
  const parts = [
    state === 'linked' ? `${subject}, by ${linkedBy === 'people' ? 'administrators' : linkedBy}` : state,
    ...(state === 'linked' || subject === null ? [] : [`was ${subject}`]),
    ...(reason === null ? [] : [reason.replace(/\.$/, '')]),
    ...(isHeld ? ['until two administrators say who it is'] : []),
    ...(isGone ? ['the source does not have it any more'] : []),
  ]
  const names = [name, address].filter((text) => text !== null)
  return printable(`${account}${names.length > 0 ? ` (${names.join(', ')})` : ''}  ${parts.join('; ')}`)
}

const countLine = ({ counts: { linked, suspended, unknown } }: SourcePeople): string =>
  `${pluralize(linked, 'account')} linked, ${suspended} suspended, ${unknown} unknown.`

const proposalLines = (
  id: string,
  { people, proposed_by: by, digest }: NonNullable<SourcePeople['proposed']>,
): string =>
  [
    `Proposed by ${by}:`,
    ...people.map(({ account, subject }) => `  ${account} is ${subject}`),
    `Somebody else confirms it: npm run remit -- source confirm-link ${id} --digest ${digest}`,
  ]
    .map(printable)
    .join('\n')
