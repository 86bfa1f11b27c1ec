import { NoPerson } from '../errors/kinds.ts'
import { internalsOf, type Session } from '../service/session.ts'
import type { ToolCall, WrappedTool } from './tool.ts'

/**
 * What follows an asynchronous flow of control: Node's AsyncLocalStorage, or whatever a platform has of the
 * kind.
 */
export interface ContextStore<T> {
  run<Result>(store: T, callback: () => Result): Result
  getStore(): T | undefined
}

/**
 * Binds the person to the asynchronous flow of a conversation, for frameworks that hand nothing on to a tool.
 */
export interface Conversations {
  /** Everything that happens in `conversation`, and whatever that awaits, is for the session's person. */
  run<Result>(session: Session, conversation: () => Result): Result
  /** @throws NoPerson outside a conversation. */
  current(): Session
  /** The tool for whoever the conversation is with. Outside of one it throws NoPerson, and does nothing. */
  bind<Args, Result>(tool: WrappedTool<Args, Result>): (args: Args, options?: ToolCall) => Promise<Result>
}

/** Conversations whose current session is kept by an `AsyncLocalStorage`, or by what works like one. */
export function conversationsOn(store: ContextStore<Session>): Conversations {
  const conversations: Conversations = {
    run(session, conversation) {
      // A session that is none would be found out later, in the middle of it.
      internalsOf(session)
      return store.run(session, conversation)
    },
    current() {
      const session = store.getStore()
      if (session === undefined)
        throw new NoPerson('no_person', { message: 'This runs outside of any conversation.' }, {})
      return session
    },
    bind: (tool) => async (args, options) => tool(args, conversations.current(), options),
  }
  return conversations
}
