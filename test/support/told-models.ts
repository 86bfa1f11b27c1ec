import type { FgaApi } from '../../src/authz/fga-api.ts'

/** OpenFGA that calls this once it has a model: one that is tried, or is about to come into force. */
export const tellingModels =
  (written: () => Promise<unknown>) =>
  (real: FgaApi): FgaApi =>
    new Proxy(real, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        const called = value.bind(target)
        if (name !== 'writeAuthorizationModel') return called
        return async (...args: readonly unknown[]) => {
          const answer: unknown = await called(...args)
          await written()
          return answer
        }
      },
    })
