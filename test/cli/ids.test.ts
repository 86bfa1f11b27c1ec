import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { CliDeps } from '../../src/cli/deps.ts'
import { runCli } from '../../src/cli/program.ts'
import { createTerminal } from '../../src/cli/terminal.ts'
import { nobody } from './world.ts'

const folder = mkdtempSync(join(tmpdir(), 'remit-test-'))
writeFileSync(join(folder, 'a.md'), 'x')
afterAll(() => rmSync(folder, { recursive: true }))

/** What one command line asks of the service, and as whom; no service is there to answer it. */
async function asked(line: string) {
  const sent: unknown[] = []
  let said = ''
  const code = await runCli(line.split(' '), {
    admin: {
      run: async (name: string, args: object) => {
        sent.push(name, args)
        return { service: 'loader' }
      },
    },
    demoTokens: {
      person: async (wanted: object) => (sent.push(wanted), 'a.b.c'),
      agent: async (wanted: object) => (sent.push(wanted), 'a.b.c'),
      service: async (wanted: object) => (sent.push(wanted), 'a.b.c'),
    },
    terminal: createTerminal({
      stdout: { write: () => undefined },
      stderr: { write: (text) => (said += text) },
    }),
    fetch: async (url: string, { body }: RequestInit) => {
      sent.push(url, typeof body === 'string' ? body : undefined)
      return Response.json({ detail: 'Nothing is here.' }, { status: 404 })
    },
    publicUrl: 'http://localhost:8787',
    envToken: undefined,
    signIns: nobody,
    newKey: () => 'k',
    now: () => 0,
  } as unknown as CliDeps)
  return { code, said, sent }
}

test.each([
  ['explain [user:]bob can_read [document:]plan --agent [agent:]research-bot --delegation [delegation:]d_1'],
  ['explain [user:]bob can_read document:plan --grant [grant:]g_1 --as [user:]lena'],
  ['who-can can_read [document:]plan'],
  ['groups [user:]carol'],
  ['audit readers [document:]plan'],
  ['audit reads [user:]bob --agent [agent:]research-bot'],
  ['audit reach [agent:]research-bot'],
  ['audit list --actor [agent:]research-bot'],
  ['audit delegations --subject [user:]bob --agent [agent:]research-bot --delegation [delegation:]d_1'],
  ['audit erase [user:]bob --yes'],
  [`what-if --model ${folder}/a.md --person [user:]bob --document [document:]plan --as [user:]lena`],
  ['delegation list [user:]ida'],
  ['delegation revoke [delegation:]d_1'],
  ['admin add [user:]bob --role security.read'],
  ['admin remove [user:]bob'],
  [
    'agent add [agent:]helper --owner [user:]bob --purpose tests --scope docs.read --collection [collection:]x',
  ],
  ['agent disable [agent:]helper'],
  ['agent enable [agent:]helper'],
  ['person add [user:]bob --name Bob'],
  ['person disable [user:]bob'],
  ['person move [user:]acme/bob@acme.test [user:]acme/00u1 --confirm'],
  ['person enable [user:]bob'],
  ['password [user:]bob'],
  ['client add app --kind agent --of [agent:]helper --title App'],
  ['client add app --kind service --of [service:]loader --title App'],
  ['collection add [collection:]diary --title Diary --organization [organization:]wrenfield'],
  ['service add [service:]scribe --collection [collection:]diary'],
  ['service remove [service:]scribe'],
  ['token --user [user:]anne --agent [agent:]research-bot'],
  ['token --service [service:]loader'],
  ['mcp register --owner [user:]bob'],
  ['model show --as [user:]kim'],
  ['source list --as [user:]kim'],
  [`import ${folder}/a.md --mode snapshot --collection [collection:]diary --service [service:]loader`],
  [`ingest ${folder} --collection [collection:]diary --owner [user:]bob`],
])('%s asks the same with and without the types of its ids', async (line) => {
  const [short, long] = [
    await asked(line.replaceAll(/\[.*?\]/g, '')),
    await asked(line.replaceAll(/[[\]]/g, '')),
  ]
  expect({ code: short.code, sent: short.sent }).toEqual({ code: long.code, sent: long.sent })
  expect(short.sent).not.toEqual([])
})

test.each([
  ['explain bob viewer plans', 'document:handbook/travel.md'],
  ['who-can viewer plans', 'folder:plans'],
  ['audit list --subject bob', 'user:anne'],
  ['audit list --object plan', 'document:handbook/travel.md'],
  ['ingest . --collection diary --viewer bob', 'user:anne or group:eng#member'],
  ['ingest . --collection diary --parent plans', 'collection:handbook'],
])('%s, whose id could be of several types, asks nothing and gives an example', async (line, example) => {
  const { code, said, sent } = await asked(line)
  expect({ code, sent }).toEqual({ code: 1, sent: [] })
  expect(said).toContain(example)
})

test('an id of another type is passed on as it is, and never taken for one of the type that is possible', async () => {
  const { sent } = await asked('delegation list agent:research-bot')
  expect(sent).toEqual(['delegation_list', { user: 'agent:research-bot' }])
})
