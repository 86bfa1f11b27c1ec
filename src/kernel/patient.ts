import { AsyncLocalStorage } from 'node:async_hooks'

const patient = new AsyncLocalStorage<true>()

/** Runs work that nobody waits for, such as taking a document in: questions go before it wherever both wait for one thing. */
export const patiently = <T>(work: () => T): T => patient.run(true, work)

/** Whether this is part of work that is done {@link patiently}. */
export const isPatient = (): boolean => patient.getStore() === true
