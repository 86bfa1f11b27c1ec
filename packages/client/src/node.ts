import { AsyncLocalStorage } from 'node:async_hooks'
import type { Session } from './service/session.ts'
import { type Conversations, conversationsOn } from './tools/conversations.ts'

/** Conversations on Node's AsyncLocalStorage, which Deno, Bun and workers with Node's API have as well. */
export const conversations = (): Conversations => conversationsOn(new AsyncLocalStorage<Session>())
