import { lookup } from 'node:dns/promises'
import { createGuardedFetch, type GuardedFetch } from './guarded-fetch.ts'

/** A guarded fetcher on the names that the system knows, its hosts file included. */
export const createSystemFetch = (allowedOrigins: readonly string[]): GuardedFetch =>
  createGuardedFetch({ lookup: (host) => lookup(host, { all: true }), allowedOrigins })
