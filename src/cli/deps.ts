import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import type { Finding } from '../doctor/finding.ts'
import type { Reembedded } from '../ingest/reembed.ts'
import type { AdminClient } from './admin-client.ts'
import type { Backups } from './backup.ts'
import type { DemoTokens } from './demo-tokens.ts'
import type { McpCommandsDeps } from './mcp/command.ts'
import type { SignIns } from './sign-ins.ts'
import type { Terminal } from './terminal.ts'

/** What the command line works with; a test brings its own. */
export interface CliDeps {
  readonly admin: AdminClient
  readonly demoTokens: DemoTokens
  readonly terminal: Terminal
  /** Starts the service in this process, and ends with it. `isDemo`: else as its settings say. */
  readonly serve: (isDemo: boolean) => Promise<void>
  /** Gives every passage a vector of the configured model, in this process and beside no running service. */
  readonly reembed: (onProgress: (doneCount: number, total: number) => void) => Promise<Reembedded>
  /** Looks at every part of the service, for `remit doctor`. */
  readonly examine: () => Promise<readonly Finding[]>
  readonly backups: Backups
  readonly fetch: Fetch
  /** Address of the service, without a trailing slash. */
  readonly publicUrl: string
  /** A real OpenFGA server that `model test` asks as well. */
  readonly openfga?: { readonly apiUrl: string; readonly apiToken?: string }
  /** Of the person at this machine, by `remit login`. */
  readonly signIns: SignIns
  /** REMIT_TOKEN: an access token of a service or a person, which wins over all others. */
  readonly envToken: string | undefined
  /** Of `remit mcp`. */
  readonly stdio: McpCommandsDeps['stdio']
  readonly newKey: () => string
  readonly now: () => number
  /** From this call on Ctrl-C fires the signal and ends nothing by itself; a second one does. */
  readonly whenInterrupted?: () => AbortSignal
}
