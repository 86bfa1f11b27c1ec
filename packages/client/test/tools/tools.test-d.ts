import { expectTypeOf, test } from 'vitest'
import {
  type Access,
  type AccessToken,
  type ConnectionRequired,
  type createTokenCache,
  isRemitError,
  type RetrieveAnswer,
  type Session,
  type TokenCache,
  type ToolCall,
  type WrappedTool,
  withApproval,
  withDeviceFlow,
} from '../../src/index.ts'
import { conversations } from '../../src/node.ts'

interface Order {
  readonly symbol: string
  readonly quantity: number
}
declare const session: Session
declare const thrown: unknown
declare const token: AccessToken

const buy = withApproval(
  { audience: 'https://broker.test/api', bindingMessage: ({ symbol }: Order) => `Buy ${symbol}` },
  async ({ quantity }, access) => {
    expectTypeOf(access).toEqualTypeOf<Access>()
    return { bought: quantity }
  },
)

test('arguments and result of a tool are what they were', () => {
  expectTypeOf(buy).toEqualTypeOf<WrappedTool<Order, { bought: number }>>()
  expectTypeOf(buy).parameters.toEqualTypeOf<
    [args: Order, session: Session, options?: ToolCall | undefined]
  >()
  expectTypeOf(buy).returns.resolves.toEqualTypeOf<{ bought: number }>()
  const read = withDeviceFlow({ audience: 'https://broker.test/api' }, (path: string) => path.length)
  expectTypeOf(read).toEqualTypeOf<WrappedTool<string, number>>()
  expectTypeOf(conversations().bind(buy)).parameters.toEqualTypeOf<
    [args: Order, options?: ToolCall | undefined]
  >()
})

test('a person is no option', () => {
  // @ts-expect-error: nobody to do it for
  void buy({ symbol: 'ACME', quantity: 1 })
  // @ts-expect-error: a name is not a session
  void buy({ symbol: 'ACME', quantity: 1 }, 'anne')
  // @ts-expect-error: not this tool's arguments
  void buy({ symbol: 'ACME' }, session)
})

test('a cache of tokens is made by createTokenCache alone', () => {
  expectTypeOf<ReturnType<typeof createTokenCache>>().toEqualTypeOf<TokenCache>()
  // @ts-expect-error: written by somebody else
  void ({ held: () => undefined, get: async () => token, drop() {}, put() {} } satisfies TokenCache)
})

test('an access gives no token away', () => {
  expectTypeOf<keyof Access>().toEqualTypeOf<'person' | 'audience' | 'scopes' | 'details' | 'fetch'>()
})

test('answers and errors are typed', () => {
  expectTypeOf(session.retrieve).returns.resolves.toEqualTypeOf<RetrieveAnswer>()
  if (isRemitError(thrown, 'connection_required')) {
    expectTypeOf(thrown).toEqualTypeOf<ConnectionRequired>()
    expectTypeOf(thrown.data.connectUrl).toEqualTypeOf<string>()
  }
})
