import { hash } from 'node:crypto'

/** One of several equal parts of all people, counted from 1. */
export interface Share {
  readonly number: number
  readonly of: number
}

/**
 * The share of a person, the same in every process and version: the first four bytes of the SHA-256 of
 * `user:ID`, the largest first, modulo the number of shares.
 */
export const shareOf = (person: string, of: number): number =>
  (hash('sha256', person, 'buffer').readUInt32BE(0) % of) + 1

/**
 * Whether a process with this share holds such a tuple: all but those whose user is a person of another one.
 * Groups, agents, services and `user:*` are everybody's.
 */
export function holdsShare({ number, of }: Share): (tuple: { readonly user: string }) => boolean {
  return ({ user }) => !isPerson(user) || shareOf(user, of) === number
}

const isPerson = (user: string): boolean =>
  user.startsWith('user:') && user !== 'user:*' && !user.includes('#')

/** `2/3`. */
export const shareName = ({ number, of }: Share): string => `${number}/${of}`
