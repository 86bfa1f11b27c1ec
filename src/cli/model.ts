import type { Command } from 'commander'
import { embeddedUrl, openInMemory } from '../authz/embedded.ts'
import { readStoreFile } from '../authz/model/store-file.ts'
import { testStoreFile } from '../authz/model/store-test.ts'
import { createFgaApi } from '../authz/openfga.ts'
import { isPassing, reportOf } from './model-report.ts'
import type { CliDeps } from './program.ts'

interface TestFlags {
  readonly server?: string
  readonly token?: string
}

// A server of one's own on a laptop may be slow; nobody waits behind this one.
const timeoutMs = 10_000

/** `remit model …`: the authorization model as code. */
export function addModelCommands(program: Command, deps: CliDeps, outcome: { ok: boolean }): void {
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
      for (const { name, api } of apisOf(flags, deps)) {
        const results = await testStoreFile(api, store)
        deps.terminal.out(`On ${name}:\n${reportOf(results)}\n`)
        outcome.ok &&= isPassing(results)
      }
    })
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
