import { AppError } from '../kernel/errors.ts'

/** Each holds lines of up to 28 MB (`imports.ts`): more at a time make none of them faster. */
const openMax = 8

/** Runs one more import for a service, unless so many of its are coming in to this process already. */
export type OpenImports = <T>(service: string, receive: () => Promise<T>) => Promise<T>

/** What it makes throws `rate_limited` where a service has eight imports open. */
export function createOpenImports(): OpenImports {
  const openByService = new Map<string, number>()
  return async (service, receive) => {
    const openCount = openByService.get(service) ?? 0
    if (openCount >= openMax)
      throw new AppError('rate_limited', {
        public: `This service has ${openMax} imports coming in. One more is taken once one of them has ended.`,
        headers: { 'retry-after': '10' },
      })
    openByService.set(service, openCount + 1)
    try {
      return await receive()
    } finally {
      const remaining = (openByService.get(service) ?? 1) - 1
      if (remaining === 0) openByService.delete(service)
      else openByService.set(service, remaining)
    }
  }
}
