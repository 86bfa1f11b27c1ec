import { createHash, randomUUID } from 'node:crypto'
import { createRequestStateCodec, type ServerContext } from '@modelcontextprotocol/server'
import { z } from 'zod'
import { canonicalJson } from '../delegation/registry/details.ts'
import type { ReplayGuard } from '../delegation/tokens/replay-guard.ts'
import type { Principal } from '../kernel/principal.ts'

/** What a client carries from one round of a call to the next. */
export interface RequestState {
  /** Readable for whoever holds it: no secret, nothing that the caller may not know. */
  mint(value: string, context: ServerContext): Promise<string>
  /**
   * Gives the value back, once. Throws for a state that is changed, over, used, or of another caller or call.
   */
  verify(state: string, context: ServerContext): Promise<string>
}

export interface RequestStateDeps {
  readonly key: Uint8Array
  readonly spent: Pick<ReplayGuard, 'spend'>
}

const seconds = 300
const payload = z.strictObject({ id: z.string(), value: z.string() })

/**
 * A state for one call: bound to the person, every actor, the client and the delegation, and to what is asked
 * (method, name and a digest of the arguments), for 300 s and one use. It says where a call stands, never who
 * asks nor that they may: that is the token's, each time.
 */
export function createRequestState(
  { subject, actors, client, delegation }: Principal,
  body: unknown,
  { key, spent: replayGuard }: RequestStateDeps,
): RequestState {
  // Only where there is a state: a body may be nested deeper than this can follow, which is a reason to
  // refuse no other.
  const bound = () => JSON.stringify([subject, actors, client, delegation ?? null, requestDigest(body)])
  const codec = createRequestStateCodec<unknown>({ key, ttlSeconds: seconds, bind: bound })
  return {
    mint: (value, context) => codec.mint({ id: randomUUID(), value }, context),
    async verify(state, context) {
      const { id, value } = payload.parse(await codec.verify(state, context))
      if (!(await replayGuard.spend(`mcp state ${id}`, seconds * 1_000))) throw new Error('used before')
      return value
    },
  }
}

const call = z.looseObject({
  method: z.string(),
  params: z
    .looseObject({
      name: z.unknown().optional(),
      uri: z.unknown().optional(),
      arguments: z.unknown().optional(),
    })
    .optional(),
})

/** What is asked, without what differs from round to round. */
function requestDigest(body: unknown): string {
  const { method, params: { name, uri, arguments: args = {} } = {} } = call.safeParse(body).data ?? {}
  const digested = [method ?? null, name ?? null, uri ?? null, args]
  return createHash('sha256').update(canonicalJson(digested)).digest('base64url')
}
