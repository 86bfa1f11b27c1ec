import { resolve } from 'node:path'
import type { Config } from '../config/config.ts'
import type { WeightsProgress } from '../embed/weights.ts'
import { pluralize } from '../kernel/pluralize.ts'
import { type Embeddings, reembedCommand } from './embeddings.ts'

/** What the first lines after a start tell. */
export interface WelcomeFacts {
  readonly embeddings: Embeddings
  /** Live passages that lack a vector though there is a model. */
  readonly withoutVector: number
  /** Left out: not the demo. */
  readonly demo: DemoFacts | undefined
}

/** What a start tells: the address, what is missing, and in the demo who exists and what to paste. */
export function welcome(config: Config, { embeddings, withoutVector, demo }: WelcomeFacts): string {
  const lines = [
    '',
    config.roles.api
      ? `Remit answers at ${config.publicUrl} (how to ask: ${config.publicUrl}/docs)`
      : 'Remit takes documents in and reads sources. Another process answers (REMIT_ROLE).',
    `Operators:       ${opsUrl(config)}/readyz and /metrics`,
    `Data and keys:   ${config.home}${config.databaseUrl === undefined ? '' : ' and the database of DATABASE_URL'}`,
    embeddings.available
      ? `Search:          words and vectors (${embeddings.embedder.model})`
      : `Search:          KEYWORD MODE: words only, there is no embedding model. ${embeddings.reason}`,
  ]
  if (withoutVector > 0) {
    lines.push(
      `                 ${pluralize(withoutVector, 'passage was', 'passages were')} taken in without a model: found by words only.`,
      `                 Stop, run this, start again: ${reembedCommand}`,
    )
  }
  if (new URL(config.publicUrl).hostname.match(/^[\d.]+$|^\[/)) {
    lines.push('PUBLIC_URL is an IP address: passkeys will not work there.')
  }
  lines.push('', ...(demo === undefined ? [] : demoLines(config, demo)), 'Ctrl-C stops.')
  return lines.join('\n')
}

const opsUrl = ({ ops }: Config): string =>
  `http://${ops.host.includes(':') ? `[${ops.host}]` : ops.host}:${ops.port}`

/** What is shown of the sample. */
export interface DemoFacts {
  /** File with the people's passwords. */
  readonly passwords: string
  readonly company: string
  readonly question: string
  readonly documents: number
  readonly people: readonly { readonly key: string; readonly name: string; readonly role: string }[]
  readonly agents: readonly { readonly id: string; readonly purpose: string }[]
}

const lines = [
  { user: 'anne', expected: 'gets what happened and what it cost' },
  { user: 'bob', expected: 'gets what support tells customers, not the account' },
  { user: 'carol', expected: 'gets nothing' },
] as const

function demoLines(config: Config, demo: DemoFacts): string[] {
  const { company, question, documents, people, agents, passwords } = demo
  const width = Math.max(...people.map(({ key }) => key.length))
  return [
    `DEMO: ${documents} documents of ${company}, a company that does not exist. Its people:`,
    ...people.map(({ key, name, role }) => `  ${key.padEnd(width)}  ${name}, ${role}`),
    `  Their passwords: ${passwords}`,
    `  Administrators:  kim, with every role, and lena, at ${config.publicUrl}/console`,
    'Agents that people lent their reading to at the first start:',
    ...agents.map(({ id, purpose }) => `  ${id}: ${purpose}`),
    '',
    'Sign in as one of them, with a browser on this machine. Paste into another terminal, in this folder:',
    `${command(config, 'login')} && ${command(config, 'whoami')}`,
    '',
    'The same question for three of them, by the agent research-bot: each time the person’s token, exchanged for one of the agent’s.',
    'What each gets is said as it was at the first start, before anybody changed what is lent or read.',
    ...lines.flatMap(({ user, expected }) => [
      '',
      `${user} ${expected}:`,
      ...askLines(config, user, question),
    ]),
    '',
  ]
}

// The other terminal lacks the settings of this one: without its folder the service is not found.
const command = ({ home }: Config, line: string): string =>
  `${home === resolve('.remit') ? '' : `REMIT_HOME=${quoted(home)} `}npm run -s remit -- ${line}`

// The token is made when the command runs: one printed here would be dead in five minutes.
function askLines(config: Config, user: string, question: string): string[] {
  return [
    `curl -s ${config.publicUrl}/retrieve \\`,
    `  -H "authorization: Bearer $(${command(config, `token --user ${user} --agent research-bot`)})" \\`,
    `  -H 'content-type: application/json' -d ${quoted(JSON.stringify({ query: question, top_k: 3 }))}`,
  ]
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`

/** Draws the download of the model's weights: one line that moves on a terminal, a few lines elsewhere. */
export function progressLine(
  isTerminal: boolean,
  write: (text: string) => void,
): (progress: WeightsProgress) => void {
  let lastTenth = -1
  return ({ file, bytes, bytesTotal }) => {
    const tenth = Math.floor((bytes / bytesTotal) * 10)
    if (!isTerminal && tenth === lastTenth) return
    lastTenth = tenth
    const text = `Fetching ${file} once: ${'█'.repeat(tenth)}${'░'.repeat(10 - tenth)} ${Math.round((bytes / bytesTotal) * 100)} %`
    write(isTerminal ? `\r${text}${bytes >= bytesTotal ? '\n' : ''}` : `${text}\n`)
  }
}
