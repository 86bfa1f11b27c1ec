import type { FgaObject } from '../../kernel/ids.ts'
import type { VaultCall } from './call.ts'
import type { OwnConnections } from './own-connections.ts'
import type { Provider } from './provider.ts'

/** Where a call goes and whose account it uses, as its person knows both. */
export interface ShownCall {
  readonly providerTitle: string
  /** undefined: the provider is not in the settings any more, and nobody can call it. */
  readonly host: string | undefined
  /** undefined: it is not connected any more. */
  readonly account: string | undefined
}

/** Titles for one call, for the page on which a person decides it. Does NOT check the call. */
export type ShowCall = (
  subject: FgaObject,
  vaultCall: { readonly call: VaultCall; readonly provider: string },
) => Promise<ShownCall>

export function createShowCall({
  connections,
  providers,
}: {
  readonly connections: Pick<OwnConnections, 'list'>
  readonly providers: readonly Provider[]
}): ShowCall {
  return async (subject, { call, provider: name }) => {
    const provider = providers.find((candidate) => candidate.name === name)
    const connection = (await connections.list(subject)).find(({ id }) => id === call.connection)
    return {
      providerTitle: provider?.title ?? name,
      // A path of another origin than the first one holds that origin.
      host: provider && new URL(call.path, provider.apiOrigins[0]).host,
      account: connection?.accountTitle,
    }
  }
}
