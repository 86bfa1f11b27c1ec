import {
  type InputRequiredResult,
  inputRequired,
  type McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server'
import type { RequestState } from './state.ts'

/**
 * Whether this client says that it opens addresses for its person and comes back (URL-mode elicitation). One
 * of the revision before says so at a handshake of which nothing is kept: it gets the address in the result.
 */
export const opensPages = (server: McpServer): boolean =>
  server.server.getClientCapabilities()?.elicitation?.url !== undefined

/** A page of ours that the person is asked to open. */
export interface Page {
  /**
   * Of ours: holds nothing that lets anybody in. Whoever opens it has to be the person, by their own browser
   * session.
   */
  readonly url: string
  readonly message: string
  /** What the call goes on with. */
  readonly carried: string
}

/** Sends the person to a page of ours. What they do there never comes through the client. */
export async function sendTo(
  { url, message, carried }: Page,
  state: RequestState,
  context: ServerContext,
): Promise<InputRequiredResult> {
  return inputRequired({
    inputRequests: { page: inputRequired.elicitUrl({ url, message }) },
    requestState: await state.mint(carried, context),
  })
}
