import type { Sql } from '../store/sql.ts'

/** A client of the built-in issuer. One that is not registered is taken for an agent's. */
export type Client =
  | { readonly clientId: string; readonly kind: 'person' }
  | { readonly clientId: string; readonly kind: 'agent'; readonly agent: string }
  | { readonly clientId: string; readonly kind: 'service'; readonly service: string }

export interface Clients {
  /** Registers a client once; a client's kind never changes. Throws where it is known as something else. */
  register(client: Client): Promise<void>
  get(clientId: string): Promise<Client | undefined>
}

export function createClients({ sql }: { readonly sql: Sql }): Clients {
  const get: Clients['get'] = async (clientId) => {
    const rows = await sql.query<ClientRow>(
      'select client_id, kind, agent, service from clients where client_id = $1',
      [clientId],
    )
    return rows.map(fromRow)[0]
  }
  return {
    get,
    async register(client) {
      const agent = client.kind === 'agent' ? client.agent : null
      const service = client.kind === 'service' ? client.service : null
      await sql.query(
        `insert into clients (client_id, kind, agent, service) values ($1, $2, $3, $4)
         on conflict (client_id) do nothing`,
        [client.clientId, client.kind, agent, service],
      )
      const known = await get(client.clientId)
      if (
        JSON.stringify(known) !==
        JSON.stringify(fromRow({ client_id: client.clientId, kind: client.kind, agent, service }))
      ) {
        throw new Error(`The client ${client.clientId} is registered as something else.`)
      }
    },
  }
}

export interface ClientRow {
  readonly client_id: string
  readonly kind: string
  readonly agent: string | null
  readonly service: string | null
}

/** A row as a client; the table's checks keep kind, agent and service in step. */
export function fromRow({ client_id: clientId, kind, agent, service }: ClientRow): Client {
  if (kind === 'agent' && agent !== null) return { clientId, kind, agent }
  if (kind === 'service' && service !== null) return { clientId, kind, service }
  if (kind === 'person') return { clientId, kind }
  throw new Error(`The client ${clientId} has no known kind.`)
}
