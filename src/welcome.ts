import type { Config } from './config.ts'
import type { Ground } from './ground.ts'
import type { WeightsProgress } from './embed/weights.ts'

/** What a start tells: the address, what is missing, and in the demo who exists and what to paste. */
export function welcome(config: Config, ground: Ground, demo: DemoFacts | undefined): string {
  const lines = [
    '',
    `Remit answers at ${config.publicUrl}  (the contract: ${config.publicUrl}/docs)`,
    `Operators: http://${config.ops.host}:${config.ops.port}/metrics and /readyz`,
    ground.embeddings.available
      ? `Search: words and vectors (${ground.embeddings.embedder.model})`
      : `Search: KEYWORD MODE, there is no embedding model. ${ground.embeddings.reason}`,
  ]
  if (new URL(config.publicUrl).hostname.match(/^[\d.]+$|^\[/)) {
    lines.push('PUBLIC_URL is an IP address: passkeys will not work there.')
  }
  if (demo !== undefined) lines.push('', ...demoLines(config, demo))
  return lines.join('\n')
}

/** What is shown of the sample. */
export interface DemoFacts {
  readonly company: string
  readonly question: string
  readonly documents: number
  readonly people: readonly { readonly key: string; readonly name: string; readonly role: string }[]
  readonly agents: readonly { readonly id: string; readonly purpose: string }[]
}

const shown = ['anne', 'bob', 'carol']

function demoLines(config: Config, { company, question, documents, people, agents }: DemoFacts): string[] {
  const width = Math.max(...people.map(({ key }) => key.length))
  return [
    `DEMO: ${documents} documents of ${company}, a company that does not exist. Its people:`,
    ...people.map(({ key, name, role }) => `  ${key.padEnd(width)}  ${name}, ${role}`),
    'Agents that some of them lent their reading to:',
    ...agents.map(({ id, purpose }) => `  ${id}: ${purpose}`),
    '',
    'The same question, asked by the agent research-bot for three of them:',
    ...shown.flatMap((user) => ['', ask(config.publicUrl, user, question)]),
    '',
    'Ctrl-C stops.',
  ]
}

// The token is made when the command runs: one printed here would be dead in five minutes.
const ask = (url: string, user: string, question: string): string =>
  [
    `curl -s ${url}/retrieve -H "authorization: Bearer $(npm run -s remit -- token --user ${user} --agent research-bot)" \\`,
    `  -H 'content-type: application/json' -d '${JSON.stringify({ query: question, top_k: 3 })}'`,
  ].join('\n')

/** Draws the download of the model's weights: one line that moves on a terminal, a few lines elsewhere. */
export function progressLine(isTerminal: boolean, write: (text: string) => void): (progress: WeightsProgress) => void {
  let lastTenth = -1
  return ({ file, bytes, bytesTotal }) => {
    const tenth = Math.floor((bytes / bytesTotal) * 10)
    if (!isTerminal && tenth === lastTenth) return
    lastTenth = tenth
    const text = `Fetching ${file} once: ${'█'.repeat(tenth)}${'░'.repeat(10 - tenth)} ${Math.round((bytes / bytesTotal) * 100)} %`
    write(isTerminal ? `\r${text}${bytes >= bytesTotal ? '\n' : ''}` : `${text}\n`)
  }
}
