import { isId } from '@remit/contract/id'
import { z } from 'zod'
import type { ErasureResult } from '../../audit/seal/erase.ts'
import type { ExportedHead } from '../../audit/seal/heads.ts'
import type { VerifyResult } from '../../audit/seal/verify.ts'
import type { Fga } from '../../authz/fga.ts'
import type { Administrators } from '../../delegation/administration/administrators.ts'
import type { AgentAdministration } from '../../delegation/administration/agent-administration.ts'
import type { PersonMove } from '../../delegation/administration/person-move.ts'
import type { Delegations } from '../../delegation/lending/delegations.ts'
import type { DeniedHosts } from '../../delegation/oauth/cimd/hosts.ts'
import type { Consents } from '../../delegation/oauth/consents.ts'
import type { DemoConsent } from '../../delegation/oauth/unasked-consents.ts'
import type { Passwords } from '../../delegation/people/passwords.ts'
import type { People } from '../../delegation/people/people.ts'
import type { Barring } from '../../delegation/people/sign-in-ends.ts'
import type { Kept, RecoveryReport } from '../../delegation/recovery/recover.ts'
import type { Agents } from '../../delegation/registry/agents.ts'
import type { Clients } from '../../delegation/registry/clients.ts'
import type { Resources } from '../../delegation/registry/resources.ts'
import type { Services } from '../../delegation/registry/services.ts'
import type { KeyRing } from '../../delegation/tokens/signing-key.ts'
import type { VaultKeyring } from '../../delegation/vault/rewrap.ts'
import type { Directories } from '../../directory/directories.ts'
import { invalid } from '../../kernel/errors.ts'
import { firstIssue } from '../../kernel/validation-message.ts'
import type { Database } from '../../store/sql.ts'

/** What the commands with machine rights work on. */
export interface AdminDeps {
  readonly database: Database
  readonly fga: Pick<Fga, 'read'>
  readonly services: Services
  readonly administrators: Administrators
  readonly people: People
  readonly passwords: Passwords
  readonly barring: Barring
  readonly personMove: PersonMove
  readonly clients: Clients
  readonly directories: Directories
  readonly deniedHosts: DeniedHosts
  readonly agents: Agents
  readonly agentAdministration: Pick<AgentAdministration, 'save' | 'disable' | 'enable'>
  readonly delegations: Delegations
  readonly resources: Resources
  readonly grants: Pick<Consents, 'endOf'>
  readonly keys: KeyRing
  readonly vault: { readonly keyring: VaultKeyring }
  /** `iss` of the built-in issuer, by which registered agents of ours are known. */
  readonly ownIssuer: string
  /** Left out: not the demo, and no command speaks for a person. */
  readonly demoConsent?: DemoConsent | undefined
  /** Address of the service. */
  readonly publicUrl: string
  readonly saveCollection: (collection: NewCollection) => Promise<void>
  /** Compares tags with OpenFGA now, mends, and says what it found. */
  readonly drift: () => Promise<object>
  /** Whether the database is older than OpenFGA, or a recovery has not ended. */
  readonly mayHaveForgotten: () => Promise<boolean>
  readonly recover: (txn: string, kept?: Kept) => Promise<RecoveryReport>
  readonly record: Keeping
  readonly newTxn: () => string
}

export interface NewCollection {
  readonly id: string
  readonly title: string
  readonly organization?: string
  readonly publicAllowed: boolean
}

/** What commands need of the record's keeping. */
interface Keeping {
  readonly verify: (heads: readonly ExportedHead[], resumes: boolean) => Promise<VerifyResult>
  readonly heads: (afterSeal: number, limit: number) => Promise<readonly ExportedHead[]>
  readonly erase: (subject: string) => Promise<ErasureResult>
}

/** Checks the arguments and says what would run; the arguments are what goes on record. */
export type Command = (args: unknown) => {
  readonly checked: object
  readonly run: (dependencies: AdminDeps) => Promise<object>
}

export const id = z.string().refine(isId, {
  error: ({ input }) => `${JSON.stringify(input)} is not an id`,
})
/** A member that may be absent, but not undefined. */
export const optional = <T extends z.ZodType>(schema: T) => z.exactOptional(schema)

/** A command of these arguments. */
export function command<Args extends object>(
  schema: z.ZodType<Args>,
  run: (args: Args, dependencies: AdminDeps) => Promise<object>,
  /** What goes on record, where that is not all. */
  recorded: (args: Args) => object = (args) => args,
): Command {
  return (args) => {
    const parsed = schema.safeParse(args)
    if (parsed.success)
      return { checked: recorded(parsed.data), run: (dependencies) => run(parsed.data, dependencies) }
    const { path, says } = firstIssue(parsed.error)
    throw invalid(path.join('.'), `${path.join('.')}: ${says}`)
  }
}
