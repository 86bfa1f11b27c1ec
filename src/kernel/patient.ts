import { AsyncLocalStorage } from 'node:async_hooks'

/** Work that nobody waits for, until somebody does. */
export interface Patience {
  isOver: boolean
}

const patience = new AsyncLocalStorage<Patience>()

/** Runs work that nobody waits for, such as taking a document in: questions go before it wherever both wait for one thing. */
export const patiently = <T>(work: () => T): T => patience.run({ isOver: false }, work)

/** Undefined: this is no part of work that is done {@link patiently}. */
export const patienceNow = (): Patience | undefined => patience.getStore()

/** Whether this is part of work that is done {@link patiently}, and nobody has come to wait for it. */
export const isPatient = (): boolean => patience.getStore()?.isOver === false
