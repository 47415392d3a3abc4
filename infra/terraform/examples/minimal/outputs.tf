output "base_url" {
  description = "Where the REST control plane is."
  value       = module.fleetwire.base_url
}

output "websocket_url" {
  description = "Where sockets are opened."
  value       = module.fleetwire.websocket_url
}

output "ecr_repository_url" {
  description = "Where the node's image is pushed."
  value       = module.fleetwire.ecr_repository_url
}

output "apps_secret_arn" {
  description = "The secret that the apps document is put into."
  value       = module.fleetwire.apps_secret_arn
}

output "ecs_cluster_name" {
  description = "The cluster of the nodes."
  value       = module.fleetwire.ecs_cluster_name
}

output "ecs_service_name" {
  description = "The service of the nodes; null while image_tag is."
  value       = module.fleetwire.ecs_service_name
}
