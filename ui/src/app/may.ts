import { useQuery } from '@tanstack/react-query'
import { whoAmI } from '../api/system'

/** Roles, each of which may do what those before it may. */
const roles = ['viewer', 'flow-run', 'agent', 'operator', 'deployer', 'admin'] as const
export type Role = (typeof roles)[number]

/** reaches says whether a role may do what needs another; of one that is not known the server decides. */
export const reaches = (role: string | undefined, needed: Role) => role === undefined || !roles.includes(role as Role) || roles.indexOf(role as Role) >= roles.indexOf(needed)

/** useMay tells what who is signed in may do. The server decides in any case; what it would refuse is not offered. */
export function useMay(): (needed: Role) => boolean {
  const { data } = useQuery(whoAmI())
  return (needed) => reaches(data?.role, needed)
}
