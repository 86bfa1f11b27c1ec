import { AsyncLocalStorage } from 'node:async_hooks'

/** Work that nobody waits for, until somebody does. */
export interface Background {
  isOver: boolean
}

const patience = new AsyncLocalStorage<Background>()

/** Runs work that nobody waits for, such as taking a document in: questions go before it wherever both wait for one thing. */
export const inBackground = <T>(task: () => T): T => patience.run({ isOver: false }, task)

/** Undefined: this is no part of work that is done {@link inBackground}. */
export const currentBackground = (): Background | undefined => patience.getStore()

/** Whether this is part of work that is done {@link inBackground}, and nobody has come to wait for it. */
export const isInBackground = (): boolean => patience.getStore()?.isOver === false
