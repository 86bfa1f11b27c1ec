import { isObject } from './json.ts'

/** Whether a value has a shape. Members that are not named in it are let through. */
export type Check<T> = (value: unknown) => value is T

/** Any string, the empty one too. */
export const isText: Check<string> = (value) => typeof value === 'string'

/** Any finite number. */
export const isNumber: Check<number> = (value): value is number => Number.isFinite(value)

/** True or false. */
export const isBoolean: Check<boolean> = (value) => typeof value === 'boolean'

/** Any object that is no array; its members are not checked. */
export const isAnyObject: Check<object> = isObject

/** Any object that is no array, read by names; its members are not checked. */
export const isRecord: Check<Readonly<Record<string, unknown>>> = isObject

/** For members that may be left out, and for nothing else. */
export const optional =
  <T>(check: Check<T>): Check<T> =>
  (value): value is T =>
    value === undefined || check(value)

/** What the check takes, or null. */
export const orNull =
  <T>(check: Check<T>): Check<T | null> =>
  (value): value is T | null =>
    value === null || check(value)

/** An array of which every member passes. */
export const listOf =
  <T>(check: Check<T>): Check<readonly T[]> =>
  (value): value is readonly T[] =>
    Array.isArray(value) && value.every((member) => check(member))

/** One of these words, exactly. */
export const wordOf =
  <T extends string>(...literals: readonly T[]): Check<T> =>
  (value): value is T =>
    literals.some((literal) => literal === value)

/** An object with these members; each member of the type needs its check. */
export function shape<T extends object>(members: { readonly [K in keyof T]-?: Check<T[K]> }): Check<T> {
  const checks: readonly [string, (value: unknown) => boolean][] = Object.entries(members)
  return (value): value is T => isObject(value) && checks.every(([name, check]) => check(value[name]))
}
