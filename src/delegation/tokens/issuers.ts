import type { Scope } from '../../kernel/principal.ts'
import { type Preset, type PresetName, presets } from './presets.ts'
import { type KeySource, type RemoteKeysOptions, remoteKeys } from './remote-keys.ts'

/** Which of Remit's two APIs a token is for. */
export type Resource = 'api' | 'mcp'

/** One issuer whose tokens may be accepted, and what its tokens mean. */
export type IssuerSource = OwnIssuer | ExternalIssuer

interface CommonIssuer {
  readonly issuer: string
  /** Exact strings; a token for one is refused at the other. */
  readonly audiences: Readonly<Record<Resource, string>>
  readonly algorithms: readonly string[]
  readonly keys: KeySource
}

/** The built-in one. Its `sub` is the subject key; the client registry says what a client is. */
export interface OwnIssuer extends CommonIssuer {
  readonly kind: 'own'
}

/** A trusted issuer as the settings describe it. */
export interface ExternalIssuer extends CommonIssuer {
  readonly kind: 'external'
  readonly namespace: string
  readonly preset: Preset
  readonly personClients: ReadonlySet<string>
  /** Client id → service name. */
  readonly serviceClients: ReadonlyMap<string, string>
  /** Client id there → client id here, of one program: it may exchange the tokens that it was issued. */
  readonly exchangeClients: ReadonlyMap<string, string>
  readonly scopesAllowed: ReadonlySet<Scope>
  /** Its tokens may leave out `delegation`: then the person's one standing delegation to the agent counts. */
  readonly standing: boolean
}

/** `iss` of the built-in issuer. */
export const ownIssuerName = (publicUrl: string): string => `${publicUrl}/oauth`

/** The built-in issuer as a source of tokens. */
export const ownIssuer = (own: { readonly publicUrl: string; readonly keys: KeySource }): OwnIssuer => ({
  kind: 'own',
  issuer: ownIssuerName(own.publicUrl),
  audiences: { api: own.publicUrl, mcp: `${own.publicUrl}/mcp` },
  algorithms: ['ES256'],
  keys: own.keys,
})

/** One entry of TRUSTED_ISSUERS, as `src/config/config.ts` has validated it. */
export interface TrustedIssuerSettings {
  readonly issuer: string
  readonly audiences: Readonly<Record<Resource, string>>
  readonly namespace: string
  readonly jwks_uri?: string | undefined
  readonly preset: PresetName
  readonly person_clients: readonly string[]
  readonly service_clients: Readonly<Record<string, string>>
  readonly exchange_clients: Readonly<Record<string, string>>
  readonly scopes_allowed: readonly Scope[]
  readonly standing: boolean
  readonly algorithms: readonly string[]
}

export type ExternalIssuerDeps = Pick<RemoteKeysOptions, 'fetch' | 'elapsed' | 'timeoutMs'>

/** Throws for settings under which a token could mean two things. */
export function externalIssuer(settings: TrustedIssuerSettings, deps: ExternalIssuerDeps): ExternalIssuer {
  const { issuer, audiences, namespace } = settings
  if (namespace === '') throw new Error(`${issuer}: only the built-in issuer has the empty namespace.`)
  if (audiences.api === audiences.mcp)
    throw new Error(`${issuer}: audiences.api and audiences.mcp must differ.`)
  const roles = [
    settings.person_clients,
    Object.keys(settings.service_clients),
    Object.keys(settings.exchange_clients),
  ]
  const twice = roles.flat().find((client) => roles.filter((clients) => clients.includes(client)).length > 1)
  // As a person's it would need no actor, and as a service's no person.
  if (twice !== undefined)
    throw new Error(`${issuer}: ${twice} is more than one of person, service and exchange client.`)
  return {
    kind: 'external',
    issuer,
    audiences,
    namespace,
    preset: presets[settings.preset],
    algorithms: settings.algorithms,
    keys: remoteKeys({ issuer, jwksUri: settings.jwks_uri, ...deps }),
    personClients: new Set(settings.person_clients),
    serviceClients: new Map(Object.entries(settings.service_clients)),
    exchangeClients: new Map(Object.entries(settings.exchange_clients)),
    scopesAllowed: new Set(settings.scopes_allowed),
    standing: settings.standing,
  }
}
