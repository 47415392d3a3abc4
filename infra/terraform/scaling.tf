# By connections, and by CPU where connections are few and busy.

resource "aws_appautoscaling_target" "nodes" {
  count              = local.run_nodes
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.nodes[0].name}"
  min_capacity       = var.nodes_min
  max_capacity       = var.nodes_max
  tags               = var.tags
}

resource "aws_appautoscaling_policy" "connections" {
  count              = local.run_nodes
  name               = "${var.name}-connections"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.nodes[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.nodes[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.nodes[0].resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.connections_per_node
    scale_out_cooldown = 60
    # Each node that goes sends its devices to the others: one at a time, with
    # time to settle.
    scale_in_cooldown = 900

    customized_metric_specification {
      # The balancer counts a socket twice, from the device and to the node. REST
      # adds a little, on the side of too many nodes.
      metrics {
        id          = "connections"
        return_data = false

        metric_stat {
          stat = "Sum"

          metric {
            namespace   = "AWS/ApplicationELB"
            metric_name = "ActiveConnectionCount"

            dimensions {
              name  = "LoadBalancer"
              value = aws_lb.this.arn_suffix
            }
          }
        }
      }

      # Each running task reports its CPU once a minute, so the number of reports
      # is the number of nodes, those that drain included.
      metrics {
        id          = "nodes"
        return_data = false

        metric_stat {
          stat = "SampleCount"

          metric {
            namespace   = "AWS/ECS"
            metric_name = "CPUUtilization"

            dimensions {
              name  = "ClusterName"
              value = aws_ecs_cluster.this.name
            }

            dimensions {
              name  = "ServiceName"
              value = aws_ecs_service.nodes[0].name
            }
          }
        }
      }

      metrics {
        id          = "per_node"
        label       = "Connections per node"
        expression  = "connections / 2 / nodes"
        return_data = true
      }
    }
  }
}

resource "aws_appautoscaling_policy" "cpu" {
  count              = local.run_nodes
  name               = "${var.name}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.nodes[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.nodes[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.nodes[0].resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = 60
    scale_out_cooldown = 60
    # Nodes that are idle still hold connections.
    disable_scale_in = true

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}
