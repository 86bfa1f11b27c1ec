import type { BatchCheckRequest, BatchCheckResponse, OpenFgaApi, ReadChangesResponse } from '@openfga/sdk'

/** OpenFGA's API as the official SDK has it; of what may go past the SDK only what is read of its answer. */
export type FgaApi = Omit<OpenFgaApi, 'batchCheck' | 'readChanges'> & {
  batchCheck: BatchCheck
  readChanges: ReadChanges
}

/** OpenFGA's BatchCheck with the response headers, which carry the request id. */
export type BatchCheck = (
  storeId: string,
  body: BatchCheckRequest,
  options?: { readonly signal?: AbortSignal },
) => Promise<
  BatchCheckResponse & { readonly $response: { readonly headers: Readonly<Record<string, unknown>> } }
>

type ReadChanges = (
  storeId: string,
  type: string | undefined,
  pageSize: number | undefined,
  token: string | undefined,
  startTime: string | undefined,
  options?: { readonly signal?: AbortSignal },
) => Promise<ReadChangesResponse>
